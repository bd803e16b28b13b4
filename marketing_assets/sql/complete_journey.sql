-- grain: one basket of The Complete Journey in one lap, in the time it is replayed in
-- inputs: complete_journey_baskets, complete_journey_laps (lap, shift_days, first_day and last_day as they
--   really were)
-- parameters: start_at, end_at (instants, half-open)
with replayed as (
    select
        laps.lap,
        baskets.basket_id,
        baskets.household_id,
        baskets.store_id,
        baskets.occurred_at + laps.shift_days * interval '1 day' as occurred_at,
        baskets.amount,
        baskets.department
    from complete_journey_baskets as baskets
    cross join complete_journey_laps as laps
    where cast(baskets.occurred_at as date) between laps.first_day and laps.last_day
)
select
    cast(case when lap = 0 then basket_id else basket_id || '-' || cast(lap as varchar) end as varchar)
        as transaction_id,
    cast(household_id as varchar) as user_id,
    cast(occurred_at as timestamp with time zone) as occurred_at,
    cast(amount as decimal(14, 2)) as amount,
    cast(null as varchar) as merchant,
    cast(store_id as varchar) as location,
    cast(department as varchar) as category,
    cast(null as timestamp with time zone) as updated_at
from replayed
where cast(occurred_at as timestamp with time zone) >= cast($start_at as timestamp with time zone)
    and cast(occurred_at as timestamp with time zone) < cast($end_at as timestamp with time zone)
