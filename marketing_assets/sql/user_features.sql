-- grain: one user with at least one purchase in the window
-- inputs: window_transactions (kept rows of the window, with the business day of each)
-- parameters: day (last day of the window), window_days (days), bucket_from and bucket_to (0 to 255, both in)
--
-- Rows are summed by (user, location) first and by user then, so that all a user row needs is a sum, a
-- minimum, a maximum or a bit-or of the first level. A day of activity is a bit: of low_days for ages
-- 0 to 59, of high_days for ages 60 to 119 (the window has at most 120 days).
with window_rows as (
    select
        bucket,
        user_id,
        location,
        category,
        occurred_at,
        amount,
        amount > 0 as is_purchase,
        cast(date_diff('day', day, cast($day as date)) as bigint) as age
    from window_transactions
    where bucket between $bucket_from and $bucket_to
),

by_location as (
    select
        bucket,
        user_id,
        location,
        count(*) filter (where is_purchase) as purchases,
        sum(amount) as spend,
        coalesce(sum(amount) filter (where is_purchase), 0) as purchase_spend,
        coalesce(sum(amount) filter (where age < 30), 0) as spend_recent,
        bit_or(cast(1 as bigint) << (age % 60)) filter (where is_purchase and age < 60) as low_days,
        bit_or(cast(1 as bigint) << (age % 60)) filter (where is_purchase and age >= 60) as high_days,
        min(occurred_at) filter (where is_purchase) as first_transaction_at,
        max(occurred_at) filter (where is_purchase) as last_transaction_at,
        min(age) filter (where is_purchase) as days_since_last
    from window_rows
    group by
        bucket,
        user_id,
        location
),

by_user as (
    select
        bucket,
        user_id,
        sum(purchases) as purchases,
        sum(spend) as spend,
        cast(sum(purchase_spend) * 100 as bigint) as purchase_cents,
        sum(spend_recent) as spend_recent,
        sum(spend) - sum(spend_recent) as spend_prior,
        bit_count(coalesce(bit_or(low_days), 0)) + bit_count(coalesce(bit_or(high_days), 0)) as active_days,
        min(first_transaction_at) as first_transaction_at,
        max(last_transaction_at) as last_transaction_at,
        min(days_since_last) as days_since_last,
        count(location) filter (where purchases > 0) as locations,
        arg_min(location, (-purchases, -purchase_spend, location))
            filter (where location is not null and purchases > 0) as top_location,
        max(purchases) filter (where location is not null and purchases > 0) as top_location_purchases
    from by_location
    group by
        bucket,
        user_id
    having sum(purchases) > 0
),

by_category as (
    select
        user_id,
        category,
        count(*) as purchases,
        sum(amount) as purchase_spend
    from window_rows
    where is_purchase and category is not null
    group by
        user_id,
        category
),

categories_of_user as (
    select
        user_id,
        count(*) as categories,
        arg_min(category, (-purchases, -purchase_spend, category)) as top_category,
        max(purchases) as top_category_purchases
    from by_category
    group by user_id
)

select
    cast(u.bucket as integer) as bucket,
    cast(u.user_id as varchar) as user_id,
    cast(u.purchases as integer) as transactions,
    cast(u.spend as decimal(14, 2)) as spend,
    cast(
        cast((2 * u.purchase_cents + u.purchases) // (2 * u.purchases) as decimal(18, 0)) * 0.01 as decimal(14, 2)
    ) as average_order,
    cast(u.active_days as integer) as active_days,
    cast(u.first_transaction_at as timestamp with time zone) as first_transaction_at,
    cast(u.last_transaction_at as timestamp with time zone) as last_transaction_at,
    cast(u.days_since_last as integer) as days_since_last,
    cast(u.locations as integer) as locations,
    cast(u.top_location as varchar) as top_location,
    cast(cast(u.top_location_purchases as double) / cast(u.purchases as double) as double) as top_location_share,
    cast(coalesce(c.categories, 0) as integer) as categories,
    cast(c.top_category as varchar) as top_category,
    cast(cast(c.top_category_purchases as double) / cast(u.purchases as double) as double) as top_category_share,
    cast(u.spend_recent as decimal(14, 2)) as spend_recent,
    cast(u.spend_prior as decimal(14, 2)) as spend_prior,
    cast(
        case
            when u.spend_prior > 0
                then round(
                    cast(u.spend_recent as double) * ($window_days - 30)
                    / (cast(u.spend_prior as double) * 30) - 1,
                    6
                )
        end as double
    ) as spend_trend
from by_user as u
left join categories_of_user as c on c.user_id = u.user_id
