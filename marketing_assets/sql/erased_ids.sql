-- grain: one id among the rows that were read whose user was erased
-- inputs: read_rows, erased_users (user_hash: HMAC-SHA-256 of the id)
-- parameters: erasure_inner and erasure_outer (the inner and outer key of that hash, in hex)
with ids as (
    select user_id
    from read_rows
    where user_id is not null
    group by user_id
),
hashed as (
    select
        user_id,
        sha256(unhex(concat($erasure_outer, sha256(unhex($erasure_inner) || encode(user_id))))) as user_hash
    from ids
)
select cast(hashed.user_id as varchar) as user_id
from hashed
inner join erased_users
    on hashed.user_hash = erased_users.user_hash
