-- grain: one pair of the round that no earlier step refused: limit (7), budget (8), draw (9)
-- inputs: targeting_pairs, open_campaigns, taken_slots (user_id: one row a slot taken before the round)
-- parameters: round, max_active_campaigns (slots a user)
--
-- Of the campaigns of a round only the last may have a budget: whom a budget refuses takes no slot, which the
-- campaigns after it have to know. A target's cost is (1 - control share) x expected conversion x reward of
-- the user's average order, whatever its arm will be. No step before the draw may read an arm.
with slots as (
    select
        user_id,
        count(*) as taken
    from taken_slots
    group by user_id
),

numbered as (
    select
        p.place,
        p.user_id,
        p.reason,
        p.location,
        p.category,
        p.spend,
        substr(md5(concat(c.campaign_id, ':', p.user_id)), 1, 8) as digits,
        cast(
            least(c.reward_cap, round(c.reward_fixed + c.reward_rate * p.average_order, 2))
            * c.cost_share as decimal(18, 6)
        ) as expected_cost,
        coalesce(s.taken, 0) + row_number() over (partition by p.user_id order by p.place) as slot
    from targeting_pairs as p
    inner join open_campaigns as c on c.place = p.place
    left join slots as s on s.user_id = p.user_id
    where p.refusal is null and c.round = $round
),

charged as (
    select
        n.place,
        n.user_id,
        c.committed + sum(n.expected_cost) over (
            partition by n.place
            order by n.spend desc, n.user_id
            rows between unbounded preceding and current row
        ) as committed
    from numbered as n
    inner join open_campaigns as c on c.place = n.place
    where c.budget is not null and n.slot <= $max_active_campaigns
),

decided as (
    select
        n.*,
        c.control_below,
        c.budget,
        b.committed,
        case
            when n.slot > $max_active_campaigns then 'limit'
            when b.committed > c.budget then 'budget'
            when n.digits < c.control_below then 'control'
            else 'treatment'
        end as outcome
    from numbered as n
    inner join open_campaigns as c on c.place = n.place
    left join charged as b on b.place = n.place and b.user_id = n.user_id
)

select
    cast(place as integer) as place,
    cast(user_id as varchar) as user_id,
    cast(outcome as varchar) as outcome,
    cast(reason as varchar) as reason,
    cast(
        case outcome
            when 'limit' then concat('{"slots": ', cast($max_active_campaigns as varchar), '}')
            when 'budget' then concat(
                '{"budget": ', cast(budget as varchar), ', "committed": ', cast(committed as varchar),
                ', "cost": ', cast(expected_cost as varchar), '}'
            )
            else concat('{"below": "', control_below, '", "slot": ', cast(slot as varchar), '}')
        end as varchar
    ) as detail,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(digits as varchar) as bucket_digits,
    cast(spend as decimal(14, 2)) as spend,
    cast(expected_cost as decimal(18, 6)) as expected_cost
from decided
