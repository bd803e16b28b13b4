-- grain: one row that lies on no day, identical ones once, with the day whose rejected rows hold it already,
--   or else the first day being ingested
-- inputs: ingest_rows, lake_rejected (rejected_transactions of every day of the lake)
-- parameters: first_day
with undated as (
    select
        reason,
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text
    from ingest_rows
    where day is null
    group by
        reason,
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text
)
select
    cast(coalesce(min(held.day), $first_day) as date) as day,
    cast(undated.reason as varchar) as reason,
    cast(undated.transaction_id as varchar) as transaction_id,
    cast(undated.user_id as varchar) as user_id,
    cast(undated.occurred_text as varchar) as occurred_text,
    cast(undated.amount_text as varchar) as amount_text,
    cast(undated.merchant as varchar) as merchant,
    cast(undated.location as varchar) as location,
    cast(undated.category as varchar) as category,
    cast(undated.updated_text as varchar) as updated_text
from undated
left join lake_rejected as held
    on undated.reason = held.reason
    and undated.transaction_id is not distinct from held.transaction_id
    and undated.user_id is not distinct from held.user_id
    and undated.occurred_text is not distinct from held.occurred_at
    and undated.amount_text is not distinct from held.amount
    and undated.merchant is not distinct from held.merchant
    and undated.location is not distinct from held.location
    and undated.category is not distinct from held.category
    and undated.updated_text is not distinct from held.updated_at
group by
    undated.reason,
    undated.transaction_id,
    undated.user_id,
    undated.occurred_text,
    undated.amount_text,
    undated.merchant,
    undated.location,
    undated.category,
    undated.updated_text
