-- grain: one row: the sums over the kept transactions of a day
-- inputs: day_transactions
-- parameters: none
select
    cast(coalesce(sum(amount), 0) as decimal(18, 2)) as spend,
    cast(count(distinct user_id) as bigint) as users
from day_transactions
