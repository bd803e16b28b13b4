-- grain: one other day of the lake that holds, kept or superseded, an id of the days being ingested
-- inputs: ingest_rows, own_transactions and own_rejected (what the lake holds of the days being ingested),
--   other_transactions and other_rejected (of all its other days)
-- parameters: none
with own as (
    select transaction_id
    from ingest_rows
    where transaction_id <> ''
    union all
    select transaction_id
    from own_transactions
    union all
    select transaction_id
    from own_rejected
    where reason = 'superseded'
),
other as (
    select
        day,
        transaction_id
    from other_transactions
    union all
    select
        day,
        transaction_id
    from other_rejected
    where reason = 'superseded'
)
select cast(day as date) as day
from other
where transaction_id in (
    select transaction_id
    from own
)
group by day
order by day
