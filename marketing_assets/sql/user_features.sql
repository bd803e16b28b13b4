-- grain: one user with at least one purchase in the window
-- inputs: window_transactions (kept rows of the window, with the business day of each)
-- parameters: day (last day of the window), window_days (days), bucket_from and bucket_to (0 to 255, both in)
--
-- Rows are summed by (user, location) first and by user then, so that all a user row needs is a sum, a
-- minimum, a maximum or a bit-or of the first level; likewise by (user, category). Both read the window
-- themselves: two scans of a few columns cost less than one whose rows are kept. What purchases alone decide
-- is summed with the locations, which lets that scan pass over refunds; all other money with the categories.
-- A day of activity is a bit: of low_days for ages 0 to 59, of high_days for ages 60 to 119 (the window has
-- at most 120 days); the lowest bit that is set is the age of the last purchase.
with purchases as (
    select
        bucket,
        user_id,
        location,
        occurred_at,
        amount,
        case
            when date_diff('day', day, cast($day as date)) < 60
                then cast(1 as bigint) << cast(date_diff('day', day, cast($day as date)) as integer)
            else 0
        end as low_day,
        case
            when date_diff('day', day, cast($day as date)) >= 60
                then cast(1 as bigint) << cast(date_diff('day', day, cast($day as date)) - 60 as integer)
            else 0
        end as high_day
    from window_transactions
    where bucket between $bucket_from and $bucket_to
        and amount > 0
),

by_location as (
    select
        user_id,
        location,
        min(bucket) as bucket,
        count(*) as purchases,
        sum(amount) as purchase_spend,
        bit_or(low_day) as low_days,
        bit_or(high_day) as high_days,
        min(occurred_at) as first_transaction_at,
        max(occurred_at) as last_transaction_at
    from purchases
    group by
        user_id,
        location
),

buyers as (
    select
        user_id,
        min(bucket) as bucket,
        sum(purchases) as purchases,
        cast(sum(purchase_spend) * 100 as bigint) as purchase_cents,
        bit_or(low_days) as low_days,
        bit_or(high_days) as high_days,
        min(first_transaction_at) as first_transaction_at,
        max(last_transaction_at) as last_transaction_at,
        count(location) as locations,
        arg_min(location, (-purchases, -purchase_spend, location)) filter (where location is not null)
            as top_location,
        max(purchases) filter (where location is not null) as top_location_purchases
    from by_location
    group by user_id
),

by_category as (
    select
        user_id,
        category,
        count(case when amount > 0 then 1 end) as purchases,
        sum(case when amount > 0 then amount else 0 end) as purchase_spend,
        sum(amount) as spend,
        sum(case when date_diff('day', day, cast($day as date)) < 30 then amount else 0 end) as spend_recent
    from window_transactions
    where bucket between $bucket_from and $bucket_to
    group by
        user_id,
        category
),

spenders as (
    select
        user_id,
        sum(spend) as spend,
        sum(spend_recent) as spend_recent,
        sum(spend) - sum(spend_recent) as spend_prior,
        count(category) filter (where purchases > 0) as categories,
        arg_min(category, (-purchases, -purchase_spend, category))
            filter (where category is not null and purchases > 0) as top_category,
        max(purchases) filter (where category is not null and purchases > 0) as top_category_purchases
    from by_category
    group by user_id
),

joined as (
    select
        buyers.bucket,
        buyers.user_id,
        buyers.purchases,
        buyers.purchase_cents,
        spenders.spend,
        spenders.spend_recent,
        spenders.spend_prior,
        buyers.low_days,
        buyers.high_days,
        buyers.first_transaction_at,
        buyers.last_transaction_at,
        buyers.locations,
        buyers.top_location,
        buyers.top_location_purchases,
        spenders.categories,
        spenders.top_category,
        spenders.top_category_purchases
    from buyers
    inner join spenders on spenders.user_id = buyers.user_id
)

select
    cast(bucket as integer) as bucket,
    cast(user_id as varchar) as user_id,
    cast(purchases as integer) as transactions,
    cast(spend as decimal(14, 2)) as spend,
    cast(
        cast((2 * purchase_cents + purchases) // (2 * purchases) as decimal(18, 0)) * 0.01 as decimal(14, 2)
    ) as average_order,
    cast(bit_count(low_days) + bit_count(high_days) as integer) as active_days,
    cast(first_transaction_at as timestamp with time zone) as first_transaction_at,
    cast(last_transaction_at as timestamp with time zone) as last_transaction_at,
    cast(
        case
            when low_days <> 0 then bit_count((low_days & -low_days) - 1)
            else 60 + bit_count((high_days & -high_days) - 1)
        end as integer
    ) as days_since_last,
    cast(locations as integer) as locations,
    cast(top_location as varchar) as top_location,
    cast(cast(top_location_purchases as double) / cast(purchases as double) as double) as top_location_share,
    cast(categories as integer) as categories,
    cast(top_category as varchar) as top_category,
    cast(cast(top_category_purchases as double) / cast(purchases as double) as double) as top_category_share,
    cast(spend_recent as decimal(14, 2)) as spend_recent,
    cast(spend_prior as decimal(14, 2)) as spend_prior,
    cast(
        case
            when spend_prior > 0
                then round(
                    cast(spend_recent as double) * ($window_days - 30) / (cast(spend_prior as double) * 30) - 1,
                    6
                )
        end as double
    ) as spend_trend
from joined
