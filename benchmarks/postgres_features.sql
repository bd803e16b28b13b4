-- grain: one user with at least one purchase in the window
-- inputs: window_transactions (kept rows of the window, with the business day of each; money in cents; text
--   in byte order), with its index on (user_id, location, category) that includes every other column
-- parameters: day (last day of the window), window_days (days)
--
-- The index hands out rows by user, location and category, so that every group is a run of rows, and it
-- holds every column, so that the table is never read. What a user needs is summed by (user, location,
-- category) in that one pass, by two workers, and by user then. A day of activity is a bit: of low_days for
-- ages 0 to 59, of high_days for ages 60 to 119 (the window has at most 120 days).
with by_place as (
    select
        user_id,
        location,
        category,
        min(bucket) as bucket,
        count(*) filter (where cents > 0) as purchases,
        sum(cents) as spend,
        coalesce(sum(cents) filter (where cents > 0), 0) as purchase_spend,
        coalesce(sum(cents) filter (where day > %(day)s::date - 30), 0) as spend_recent,
        bit_or(1::bigint << (%(day)s::date - day))
            filter (where cents > 0 and day > %(day)s::date - 60) as low_days,
        bit_or(1::bigint << (%(day)s::date - day - 60))
            filter (where cents > 0 and day <= %(day)s::date - 60) as high_days,
        min(occurred_at) filter (where cents > 0) as first_transaction_at,
        max(occurred_at) filter (where cents > 0) as last_transaction_at,
        max(day) filter (where cents > 0) as last_day
    from window_transactions
    group by
        user_id,
        location,
        category
),

by_user as (
    select
        user_id,
        min(bucket) as bucket,
        sum(purchases)::bigint as transactions,
        sum(spend)::bigint as spend,
        sum(purchase_spend)::bigint as purchase_spend,
        sum(spend_recent)::bigint as spend_recent,
        sum(spend)::bigint - sum(spend_recent)::bigint as spend_prior,
        bit_count(coalesce(bit_or(low_days), 0)::bit(64))
        + bit_count(coalesce(bit_or(high_days), 0)::bit(64)) as active_days,
        min(first_transaction_at) as first_transaction_at,
        max(last_transaction_at) as last_transaction_at,
        %(day)s::date - max(last_day) as days_since_last
    from by_place
    group by user_id
    having sum(purchases) > 0
),

by_location as (
    select
        user_id,
        location,
        sum(purchases) as purchases,
        sum(purchase_spend) as purchase_spend
    from by_place
    where purchases > 0 and location is not null
    group by
        user_id,
        location
),

top_location as (
    select distinct on (user_id)
        user_id,
        location as top_location,
        purchases,
        count(*) over (partition by user_id) as locations
    from by_location
    order by
        user_id,
        purchases desc,
        purchase_spend desc,
        location
),

by_category as (
    select
        user_id,
        category,
        sum(purchases) as purchases,
        sum(purchase_spend) as purchase_spend
    from by_place
    where purchases > 0 and category is not null
    group by
        user_id,
        category
),

top_category as (
    select distinct on (user_id)
        user_id,
        category as top_category,
        purchases,
        count(*) over (partition by user_id) as categories
    from by_category
    order by
        user_id,
        purchases desc,
        purchase_spend desc,
        category
),

with_trend as (
    select
        *,
        case
            when spend_prior > 0
                then (
                    (spend_recent / 100.0)::double precision * (%(window_days)s - 30)
                    / ((spend_prior / 100.0)::double precision * 30) - 1
                ) * 1000000
        end as millionths
    from by_user
)

select
    u.bucket,
    u.user_id,
    u.transactions,
    (u.spend * 0.01)::numeric(14, 2) as spend,
    ((2 * u.purchase_spend + u.transactions) / (2 * u.transactions) * 0.01)::numeric(14, 2) as average_order,
    u.active_days,
    u.first_transaction_at,
    u.last_transaction_at,
    u.days_since_last,
    coalesce(l.locations, 0) as locations,
    l.top_location,
    l.purchases::double precision / u.transactions as top_location_share,
    coalesce(c.categories, 0) as categories,
    c.top_category,
    c.purchases::double precision / u.transactions as top_category_share,
    (u.spend_recent * 0.01)::numeric(14, 2) as spend_recent,
    (u.spend_prior * 0.01)::numeric(14, 2) as spend_prior,
    -- half up, where round() of a double rounds half to even
    (
        trunc(u.millionths)
        + sign(u.millionths) * (abs(u.millionths - trunc(u.millionths)) >= 0.5)::integer
    ) / 1000000 as spend_trend
from with_trend as u
left join top_location as l on l.user_id = u.user_id
left join top_category as c on c.user_id = u.user_id
