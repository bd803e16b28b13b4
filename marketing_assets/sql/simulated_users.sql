-- grain: one simulated user who has arrived, with what stays the same about them
-- inputs: simulated_digits (digit: 0 to 999), simulated_personas (permille: 0 to 999, and the persona's traits)
-- parameters: arrivals (users who have arrived), users (users that arrive within 3650 days), seed
--
-- Draws are numbers below 2147483647, a prime p: a number is mixed by squaring it and adding, modulo p,
-- which both engines do alike in 64 bits. `first_draw` and `second_draw` are the user's own for ever.
with indexes as (
    select cast(high.digit * 1000000 + middle.digit * 1000 + low.digit as bigint) as user_index
    from simulated_digits as high
    cross join simulated_digits as middle
    cross join simulated_digits as low
    where high.digit <= $arrivals // 1000000
        and high.digit * 1000 + middle.digit <= $arrivals // 1000
        and high.digit * 1000000 + middle.digit * 1000 + low.digit < $arrivals
),
keyed as (
    select
        user_index,
        ((user_index + 1) * 48271 + cast($seed as bigint) * 69621) % 2147483647 as user_key
    from indexes
),
drawn as (
    select
        user_index,
        user_key,
        (user_key * user_key + 40692) % 2147483647 as first_draw
    from keyed
),
drawn_twice as (
    select
        user_index,
        user_key,
        (first_draw * first_draw + 62089911) % 2147483647 as first_draw
    from drawn
)
select
    cast(users.user_index as bigint) as user_index,
    cast('u' || substr(cast(100000000 + users.user_index as varchar), 2) as varchar) as user_id,
    cast((users.user_index * 3650) // $users as integer) as arrival_day,
    cast(users.user_key as bigint) as user_key,
    cast(users.first_draw as bigint) as first_draw,
    cast((users.first_draw * users.first_draw + 1343714438) % 2147483647 as bigint) as second_draw,
    cast(personas.permille as integer) as permille,
    cast(personas.rate as integer) as rate,
    cast(personas.quiet_rate as integer) as quiet_rate,
    cast(personas.mean_rate as integer) as mean_rate,
    cast(personas.cycle_days as integer) as cycle_days,
    cast(personas.busy_days as integer) as busy_days,
    cast(personas.base_cents as integer) as base_cents,
    cast(personas.fewest_places as integer) as fewest_places,
    cast(personas.most_places as integer) as most_places
from drawn_twice as users
inner join simulated_personas as personas
    on users.first_draw % 1000 = personas.permille
