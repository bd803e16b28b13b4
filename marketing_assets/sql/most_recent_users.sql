-- grain: one user, of the max_users whose last purchase is the most recent (ties: user_id ascending)
-- inputs: all_user_features (rows of user_features)
-- parameters: max_users (users)
with ranked as (
    select
        user_id,
        row_number() over (order by last_transaction_at desc, user_id asc) as position
    from all_user_features
)

select cast(user_id as varchar) as user_id
from ranked
where position <= $max_users
