-- grain: one acceptable row with a contested id, identical ones once; place 1 is kept, others are superseded
-- inputs: ingest_rows, contested_ids
-- parameters: none
-- The highest is kept: by update time (none is lowest), then by the row as text, field by field in the
-- order of the source's columns (null is lowest, texts by their UTF-8 bytes).
with normalised as (
    select
        rows.day,
        rows.transaction_id,
        rows.user_id,
        rows.occurred_at,
        rows.amount,
        nullif(replace(rows.merchant, chr(0), '�'), '') as merchant,
        nullif(replace(rows.location, chr(0), '�'), '') as location,
        nullif(replace(rows.category, chr(0), '�'), '') as category,
        rows.updated_at,
        rows.occurred_text,
        rows.amount_text,
        rows.merchant as merchant_text,
        rows.location as location_text,
        rows.category as category_text,
        rows.updated_text
    from ingest_rows as rows
    inner join contested_ids
        on rows.transaction_id = contested_ids.transaction_id
    where rows.reason is null
),
copies as (
    select
        day,
        transaction_id,
        user_id,
        occurred_at,
        amount,
        merchant,
        location,
        category,
        updated_at,
        occurred_text,
        amount_text,
        merchant_text,
        location_text,
        category_text,
        updated_text,
        count(*) over (
            partition by transaction_id, user_id, occurred_at, amount, merchant, location, category, updated_at
        ) as copies,
        row_number() over (
            partition by transaction_id, user_id, occurred_at, amount, merchant, location, category, updated_at
            order by
                occurred_text asc,
                amount_text asc,
                merchant_text asc nulls last,
                location_text asc nulls last,
                category_text asc nulls last,
                updated_text asc nulls last
        ) as copy
    from normalised
),
ranked as (
    select
        day,
        transaction_id,
        user_id,
        occurred_at,
        amount,
        merchant,
        location,
        category,
        updated_at,
        occurred_text,
        amount_text,
        merchant_text,
        location_text,
        category_text,
        updated_text,
        copies,
        row_number() over (
            partition by transaction_id
            order by
                updated_at desc nulls last,
                user_id desc,
                occurred_at desc,
                cast(amount as varchar) desc,
                merchant desc nulls last,
                location desc nulls last,
                category desc nulls last
        ) as place
    from copies
    where copy = 1
)
select
    cast(day as date) as day,
    cast(transaction_id as varchar) as transaction_id,
    cast(user_id as varchar) as user_id,
    cast(occurred_at as timestamp with time zone) as occurred_at,
    cast(amount as decimal(14, 2)) as amount,
    cast(merchant as varchar) as merchant,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(updated_at as timestamp with time zone) as updated_at,
    cast(occurred_text as varchar) as occurred_text,
    cast(amount_text as varchar) as amount_text,
    cast(merchant_text as varchar) as merchant_text,
    cast(location_text as varchar) as location_text,
    cast(category_text as varchar) as category_text,
    cast(updated_text as varchar) as updated_text,
    cast(copies as bigint) as copies,
    cast(place as integer) as place
from ranked
