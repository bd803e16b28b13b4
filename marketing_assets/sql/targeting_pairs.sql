-- grain: one user with the pattern of a campaign that takes targets, who is not a target of it yet (step 1)
-- inputs: open_campaigns (campaigns that take targets), qualified_users (user_id, pattern, reason),
--         user_features, opted_out (user_id), cooling_users (campaign_id, user_id, earlier_campaign, ended_on),
--         standing_targets (campaign_id, user_id: published targets of open, unpaused campaigns)
-- parameters: global_salt (`global:<year>`), global_below (8 hex digits below which a user is held out)
--
-- refusal is the first of steps 2 to 6 that applies, null where the user reaches the limits; refusal_detail
-- is JSON text of what that step read.
with users as (
    select
        f.user_id,
        f.spend,
        f.average_order,
        f.top_location,
        f.top_category,
        substr(md5(concat($global_salt, ':', f.user_id)), 1, 8) as global_digits,
        o.user_id is not null as has_opted_out
    from user_features as f
    left join opted_out as o on o.user_id = f.user_id
),

candidates as (
    select
        c.place,
        c.offer_at,
        c.cooldown_days,
        c.days_left,
        c.days_needed,
        q.user_id,
        q.reason,
        u.spend,
        u.average_order,
        u.global_digits,
        u.has_opted_out,
        case when c.offer_at = 'top_location' then u.top_location end as location,
        case when c.offer_at = 'top_category' then u.top_category end as category,
        k.earlier_campaign,
        k.ended_on
    from open_campaigns as c
    inner join qualified_users as q on q.pattern = c.target_pattern
    inner join users as u on u.user_id = q.user_id
    left join standing_targets as s
        on s.campaign_id = c.campaign_id and s.user_id = q.user_id
    left join cooling_users as k
        on k.campaign_id = c.campaign_id and k.user_id = q.user_id
    where s.user_id is null
),

refused as (
    select
        *,
        case
            when offer_at is not null and location is null and category is null then 'no_context'
            when has_opted_out then 'opted_out'
            when global_digits < $global_below then 'global_holdout'
            when earlier_campaign is not null then 'cooling_off'
            when days_left < days_needed then 'too_late'
        end as refusal
    from candidates
)

select
    cast(place as integer) as place,
    cast(user_id as varchar) as user_id,
    cast(reason as varchar) as reason,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(spend as decimal(14, 2)) as spend,
    cast(average_order as decimal(14, 2)) as average_order,
    cast(refusal as varchar) as refusal,
    cast(
        case refusal
            when 'no_context' then concat('{"offer_at": "', offer_at, '"}')
            when 'opted_out' then '{}'
            when 'global_holdout' then concat(
                '{"salt": "', $global_salt, '", "digits": "', global_digits, '", "below": "', $global_below, '"}'
            )
            when 'cooling_off' then concat(
                '{"earlier_campaign": "', earlier_campaign, '", "ended_on": "', cast(ended_on as varchar),
                '", "cooldown_days": ', cast(cooldown_days as varchar), '}'
            )
            when 'too_late' then concat(
                '{"days_left": ', cast(days_left as varchar), ', "days_needed": ', cast(days_needed as varchar), '}'
            )
        end as varchar
    ) as refusal_detail
from refused
