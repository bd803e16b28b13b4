-- grain: one row of the source that lies on one of the days, or on none where its time cannot be read
-- inputs: source_rows, ingest_days (utc_date, day, start_at, end_at: each day once for every UTC date it
--   touches), zone_offsets (calendar_year, local_from, local_until, offset_seconds: what the clock of the
--   source's zone is ahead of UTC; local times are written as if they were UTC)
-- parameters: earliest, latest (the day before the first and the day after the last of the days, to pass
--   over other rows quickly), by_update_time (true: a row without a time lies on the day
--   of its update time), with_undated (true: give the rows that lie on no day too), pseudonym_inner and
--   pseudonym_outer (the key that user ids are replaced with, HMAC-SHA-256, as its inner and outer key in
--   hex; null: they stay as they are)
with texts as (
    select
        cast(transaction_id as varchar) as transaction_id,
        cast(user_id as varchar) as user_id,
        cast(occurred_at as varchar) as occurred_text,
        cast(amount as varchar) as amount_text,
        cast(merchant as varchar) as merchant,
        cast(location as varchar) as location,
        cast(category as varchar) as category,
        cast(updated_at as varchar) as updated_text,
        trim(cast(occurred_at as varchar)) as occurred,
        trim(cast(updated_at as varchar)) as updated
    from source_rows
),
shaped as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred,
        updated,
        regexp_matches(
            occurred,
            '^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?(Z| ?UTC|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?)?)?$'
        ) as occurred_is_time,
        regexp_matches(
            updated,
            '^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?(Z| ?UTC|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)?)?)?$'
        ) as updated_is_time,
        try_cast(substr(occurred, 1, 10) as date) as local_date
    from texts
),
-- Whatever its offset, a time lies at most one day away from its local date.
in_reach as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred,
        updated,
        occurred_is_time,
        updated_is_time
    from shaped
    where occurred is null
        or not occurred_is_time
        or local_date is null
        or local_date between cast($earliest as date) and cast($latest as date)
),
clock_times as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        case when occurred_is_time then try_cast(occurred as timestamp with time zone) end as occurred_at,
        case when updated_is_time then try_cast(updated as timestamp with time zone) end as updated_at,
        regexp_matches(occurred, ':.*[-+ZC]') as occurred_has_offset,
        regexp_matches(updated, ':.*[-+ZC]') as updated_has_offset
    from in_reach
),
zoned as (
    select
        rows.transaction_id,
        rows.user_id,
        rows.occurred_text,
        rows.amount_text,
        rows.merchant,
        rows.location,
        rows.category,
        rows.updated_text,
        rows.occurred_at - coalesce(occurred_zone.offset_seconds, 0) * interval '1 second' as occurred_at,
        rows.updated_at - coalesce(updated_zone.offset_seconds, 0) * interval '1 second' as updated_at
    from clock_times as rows
    left join zone_offsets as occurred_zone
        on case when not rows.occurred_has_offset then extract(year from rows.occurred_at) end
            = occurred_zone.calendar_year
        and rows.occurred_at >= occurred_zone.local_from
        and rows.occurred_at < occurred_zone.local_until
    left join zone_offsets as updated_zone
        on case when not rows.updated_has_offset then extract(year from rows.updated_at) end
            = updated_zone.calendar_year
        and rows.updated_at >= updated_zone.local_from
        and rows.updated_at < updated_zone.local_until
),
instants as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        case
            when occurred_at >= cast('0001-01-01 00:00:00+00' as timestamp with time zone)
                and occurred_at <= cast('9999-12-31 23:59:59.999999+00' as timestamp with time zone)
                then occurred_at
        end as occurred_at,
        case
            when updated_at >= cast('0001-01-01 00:00:00+00' as timestamp with time zone)
                and updated_at <= cast('9999-12-31 23:59:59.999999+00' as timestamp with time zone)
                then updated_at
        end as updated_at
    from zoned
),
placed_by as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred_at,
        updated_at,
        case
            when occurred_at is not null then occurred_at
            when $by_update_time then updated_at
        end as placed_at
    from instants
),
of_the_days as (
    select
        rows.transaction_id,
        rows.user_id,
        rows.occurred_text,
        rows.amount_text,
        rows.merchant,
        rows.location,
        rows.category,
        rows.updated_text,
        rows.occurred_at,
        rows.updated_at,
        lower(trim(rows.amount_text)) as amount_given,
        days.day
    from placed_by as rows
    left join ingest_days as days
        on cast(rows.placed_at as date) = days.utc_date
        and rows.placed_at >= days.start_at
        and rows.placed_at < days.end_at
    where days.day is not null
        or ($with_undated and rows.placed_at is null)
),
amounts as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred_at,
        updated_at,
        day,
        amount_given,
        regexp_matches(amount_given, '^[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[-+]?[0-9]+)?$') as is_number,
        regexp_matches(amount_given, '^[-+]?[0-9]{1,9}([.][0-9]{1,4})?$') as is_short
    from of_the_days
),
-- Short amounts, nearly all of them, apart: the wide decimal takes thirty times as long.
exact_amounts as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred_at,
        updated_at,
        day,
        amount_given,
        is_number,
        case when is_short then try_cast(amount_given as decimal(14, 4)) end as short_amount,
        case when is_number and not is_short then try_cast(amount_given as decimal(38, 28)) end as long_amount
    from amounts
),
judged as (
    select
        transaction_id,
        user_id,
        occurred_text,
        amount_text,
        merchant,
        location,
        category,
        updated_text,
        occurred_at,
        updated_at,
        day,
        short_amount,
        long_amount,
        case
            when transaction_id is null or transaction_id = '' then 'missing_transaction_id'
            when length(transaction_id) > 200 then 'long_transaction_id'
            when strpos(transaction_id, chr(0)) > 0 then 'nul_in_transaction_id'
            when user_id is null or user_id = '' then 'missing_user_id'
            when length(user_id) > 200 then 'long_user_id'
            when strpos(user_id, chr(0)) > 0 then 'nul_in_user_id'
            when occurred_text is null or trim(occurred_text) = '' then 'missing_time'
            when occurred_at is null then 'unreadable_time'
            when regexp_matches(amount_given, '^[-+]?(nan|inf|infinity)$') then 'amount_not_finite'
            when amount_given is null or not is_number then 'amount_not_a_number'
            when abs(short_amount) <= 1000000 then null
            when short_amount is not null or long_amount is null then 'amount_out_of_range'
            when abs(long_amount) > 1000000 then 'amount_out_of_range'
        end as reason
    from exact_amounts
)
select
    cast(day as date) as day,
    cast(reason as varchar) as reason,
    cast(transaction_id as varchar) as transaction_id,
    cast(
        case
            when user_id is null or user_id = '' or cast($pseudonym_inner as varchar) is null then user_id
            else sha256(
                unhex(concat($pseudonym_outer, sha256(unhex($pseudonym_inner) || encode(user_id))))
            )
        end as varchar
    ) as user_id,
    cast(occurred_at as timestamp with time zone) as occurred_at,
    cast(
        case
            when reason is not null then null
            when short_amount is not null then cast(round(short_amount, 2) as decimal(14, 2))
            else cast(round(long_amount, 2) as decimal(14, 2))
        end as decimal(14, 2)
    ) as amount,
    cast(merchant as varchar) as merchant,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(updated_at as timestamp with time zone) as updated_at,
    cast(occurred_text as varchar) as occurred_text,
    cast(amount_text as varchar) as amount_text,
    cast(updated_text as varchar) as updated_text
from judged
