-- grain: one pattern of the policy, also where no user has it
-- inputs: policy_patterns (pattern, rank), user_patterns, user_features
-- parameters: none
with by_pattern as (
    select
        p.pattern,
        count(*) as users,
        count(*) filter (where p.is_primary) as primary_users,
        sum(f.spend) as spend,
        cast(sum(f.average_order) * 100 as bigint) as average_order_cents
    from user_patterns as p
    inner join user_features as f on f.user_id = p.user_id
    group by p.pattern
),

everybody as (
    select count(*) as users
    from user_features
)

select
    cast(p.pattern as varchar) as pattern,
    cast(p.rank as integer) as rank,
    cast(coalesce(b.users, 0) as bigint) as users,
    cast(coalesce(b.primary_users, 0) as bigint) as primary_users,
    cast(
        case when e.users > 0 then cast(coalesce(b.users, 0) as double) / cast(e.users as double) else 0 end as double
    ) as share,
    cast(coalesce(b.spend, 0) as decimal(18, 2)) as spend,
    cast(
        cast((2 * b.average_order_cents + b.users) // (2 * b.users) as decimal(18, 0)) * 0.01 as decimal(14, 2)
    ) as average_order
from policy_patterns as p
left join by_pattern as b on b.pattern = p.pattern
cross join everybody as e
