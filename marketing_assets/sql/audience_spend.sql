-- grain: one row: what the users with the pattern of a campaign that takes targets have spent in the window
-- inputs: open_campaigns, qualified_users (user_id, pattern), user_features
-- parameters: none
with audience as (
    select distinct q.user_id
    from qualified_users as q
    inner join open_campaigns as c on c.target_pattern = q.pattern
)

select cast(coalesce(sum(f.spend), 0) as decimal(18, 2)) as spend
from user_features as f
inner join audience as a on a.user_id = f.user_id
