-- grain: one user and pattern that holds
-- inputs: pattern_matches (user_id, pattern, rank, reason; made from the policy), user_features
-- parameters: none
select
    cast(f.bucket as integer) as bucket,
    cast(m.user_id as varchar) as user_id,
    cast(m.pattern as varchar) as pattern,
    cast(m.rank as integer) as rank,
    cast(m.rank = min(m.rank) over (partition by m.user_id) as boolean) as is_primary,
    cast(m.reason as varchar) as reason
from pattern_matches as m
inner join user_features as f on f.user_id = m.user_id
