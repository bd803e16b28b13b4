-- grain: one id that the lake keeps on another of the days being ingested than the one it is on now
-- inputs: ingest_rows, contested_ids, contested_rows, own_transactions (what the lake holds of those days)
-- parameters: none
with kept as (
    select
        rows.day,
        rows.transaction_id
    from ingest_rows as rows
    left join contested_ids
        on rows.transaction_id = contested_ids.transaction_id
    where rows.reason is null
        and contested_ids.transaction_id is null
    union all
    select
        day,
        transaction_id
    from contested_rows
    where place = 1
)
select
    cast(own_transactions.day as date) as from_day,
    cast(own_transactions.transaction_id as varchar) as transaction_id
from own_transactions
inner join kept
    on own_transactions.transaction_id = kept.transaction_id
where own_transactions.day <> kept.day
