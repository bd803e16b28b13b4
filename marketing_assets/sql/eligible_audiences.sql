-- grain: one template with the users of its pattern whom a new campaign of it could reach
-- inputs: templates (template, pattern, offer_at), qualified_users (user_id, pattern), user_features,
--         opted_out (user_id)
-- parameters: global_salt (`global:<year>`), global_below (8 hex digits below which a user is held out)
with reachable as (
    select
        f.user_id,
        f.top_location,
        f.top_category
    from user_features as f
    left join opted_out as o on o.user_id = f.user_id
    where o.user_id is null and substr(md5(concat($global_salt, ':', f.user_id)), 1, 8) >= $global_below
),

audiences as (
    select
        p.pattern,
        count(*) as users,
        count(r.top_location) as with_location,
        count(r.top_category) as with_category
    from qualified_users as p
    inner join reachable as r on r.user_id = p.user_id
    group by p.pattern
)

select
    cast(t.template as varchar) as template,
    cast(
        case t.offer_at
            when 'top_location' then a.with_location
            when 'top_category' then a.with_category
            else a.users
        end as bigint
    ) as users
from templates as t
inner join audiences as a on a.pattern = t.pattern
