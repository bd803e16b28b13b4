-- grain: one row of the day that was not kept, as the source gave it; position counts them in their order
-- inputs: ingest_rows, contested_rows, undated_rows
-- parameters: day
with rejected as (
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
    where reason is not null
        and day = $day
    union all
    select
        'superseded' as reason,
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant_text as merchant,
        location_text as location,
        category_text as category,
        updated_text
    from contested_rows
    where place > 1
        and day = $day
    union all
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
    from undated_rows
    where day = $day
)
select
    cast(
        row_number() over (
            order by
                reason asc,
                transaction_id asc nulls first,
                user_id asc nulls first,
                occurred_text asc nulls first,
                amount_text asc nulls first,
                merchant asc nulls first,
                location asc nulls first,
                category asc nulls first,
                updated_text asc nulls first
        ) as integer
    ) as position,
    cast(reason as varchar) as reason,
    cast(transaction_id as varchar) as transaction_id,
    cast(user_id as varchar) as user_id,
    cast(occurred_text as varchar) as occurred_at,
    cast(amount_text as varchar) as amount,
    cast(merchant as varchar) as merchant,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(updated_text as varchar) as updated_at
from rejected
