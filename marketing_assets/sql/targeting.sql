-- grain: one user with the pattern of an open campaign who is not a target of it yet
-- inputs: open_campaigns (campaigns that take targets), user_patterns, user_features,
--         standing_targets (campaign_id, user_id: published targets of open, unpaused campaigns)
-- parameters: max_active_campaigns (slots a user)
--
-- The steps in their order; the first that applies is the outcome. Steps that join here as they come:
-- no_context, opted_out, global_holdout, cooling_off, too_late (before limit), budget (after it).
-- No step before the draw may read an arm.
with slots_taken as (
    select
        user_id,
        count(*) as slots
    from standing_targets
    group by user_id
),

candidates as (
    select
        c.campaign_id,
        c.campaign_version,
        c.priority,
        c.holdout_share,
        c.share_digits,
        c.offer_at,
        c.valid_from,
        c.valid_until,
        p.user_id,
        p.reason,
        md5(concat(c.campaign_id, ':', p.user_id)) as digest
    from open_campaigns as c
    inner join user_patterns as p on p.pattern = c.target_pattern
    left join standing_targets as s
        on s.campaign_id = c.campaign_id and s.user_id = p.user_id
    where s.user_id is null
),

placed as (
    select
        c.*,
        coalesce(s.slots, 0)
        + row_number() over (partition by c.user_id order by c.priority, c.campaign_id) as slot
    from candidates as c
    left join slots_taken as s on s.user_id = c.user_id
)

select
    cast(p.digest as varchar) as target_id,
    cast(p.campaign_id as varchar) as campaign_id,
    cast(p.campaign_version as integer) as campaign_version,
    cast(p.user_id as varchar) as user_id,
    cast(
        case
            when p.slot > $max_active_campaigns then 'limit'
            when p.holdout_share <= 0 then 'treatment'
            when p.holdout_share >= 1 then 'control'
            when substr(p.digest, 1, 8) < p.share_digits then 'control'
            else 'treatment'
        end as varchar
    ) as outcome,
    cast(p.reason as varchar) as reason,
    cast(case when p.offer_at = 'top_location' then f.top_location end as varchar) as location,
    cast(case when p.offer_at = 'top_category' then f.top_category end as varchar) as category,
    cast(substr(p.digest, 1, 8) as varchar) as bucket_digits,
    cast(p.valid_from as timestamp with time zone) as valid_from,
    cast(p.valid_until as timestamp with time zone) as valid_until
from placed as p
inner join user_features as f on f.user_id = p.user_id
