-- grain: one kept transaction of the day
-- inputs: ingest_rows, contested_ids, contested_rows
-- parameters: day
with kept as (
    select
        rows.user_id,
        rows.transaction_id,
        rows.occurred_at,
        rows.amount,
        nullif(replace(rows.merchant, chr(0), '�'), '') as merchant,
        nullif(replace(rows.location, chr(0), '�'), '') as location,
        nullif(replace(rows.category, chr(0), '�'), '') as category,
        rows.updated_at
    from ingest_rows as rows
    left join contested_ids
        on rows.transaction_id = contested_ids.transaction_id
    where rows.reason is null
        and rows.day = $day
        and contested_ids.transaction_id is null
    union all
    select
        user_id,
        transaction_id,
        occurred_at,
        amount,
        merchant,
        location,
        category,
        updated_at
    from contested_rows
    where place = 1
        and day = $day
)
select
    cast(
        (strpos('0123456789abcdef', substr(md5(user_id), 1, 1)) - 1) * 16
        + strpos('0123456789abcdef', substr(md5(user_id), 2, 1)) - 1 as integer
    ) as bucket,
    cast(user_id as varchar) as user_id,
    cast(transaction_id as varchar) as transaction_id,
    cast(occurred_at as timestamp with time zone) as occurred_at,
    cast(amount as decimal(14, 2)) as amount,
    cast(merchant as varchar) as merchant,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(updated_at as timestamp with time zone) as updated_at
from kept
