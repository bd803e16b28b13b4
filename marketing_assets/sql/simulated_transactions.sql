-- grain: one row of the simulated source, as it stands there at `seen_at`
-- inputs: simulated_users (see simulated_users.sql), simulated_kinds (kind: purchase, copy, refund or response;
--   bought_on: the day whose draws count; day_number of it; its weight, the share of an average day in
--   thousandths; posted_on: the day of the row, posted_number: its number; posted_second: from
--   `start_at` to its beginning), simulated_sizes (size: rows of a user, kind and day;
--   slot: 1 to size), simulated_responses (user_id, bought_on, effect in thousandths)
-- parameters: seconds (from `start_at` to the end of what is asked for), seen_second (later rows are not there
--   yet), cities, categories (24 names, 12 characters each)
--
-- A rate is purchases a day in thousandths; the fraction left over is drawn, so that its mean is exact. An
-- offer with an effect above 0 brings `effect` of the user's mean purchases on top, one below 0 takes that
-- share of them away, so that the truth of what it causes is known. One day of purchases in fifty has its
-- first one refunded some days later; one in 400 has it sent again, half of these corrected. Amounts are
-- base * 51 / (1 + 50 * draw): median 1.96, mean 4.0, highest 51 times the base, a heavy tail.
with user_days as (
    select
        users.user_id,
        users.user_index,
        users.second_draw,
        users.base_cents,
        users.fewest_places + users.second_draw % (users.most_places - users.fewest_places + 1) as places,
        1 + (users.second_draw // 64) % 8 as categories,
        kinds.kind,
        kinds.posted_on,
        kinds.posted_number,
        kinds.posted_second,
        kinds.day_number,
        coalesce(responses.effect, 0) as effect,
        case
            when kinds.kind = 'response' then (users.mean_rate * greatest(coalesce(responses.effect, 0), 0)) // 1000
            when (kinds.day_number + users.second_draw) % users.cycle_days < users.busy_days then users.rate
            else users.quiet_rate
        end * kinds.weight // 1000 as rate,
        (
            ((users.user_key + kinds.day_number * 39373) % 2147483647)
            * ((users.user_key + kinds.day_number * 39373) % 2147483647)
            + users.first_draw
        ) % 2147483647 as draw
    from simulated_users as users
    cross join simulated_kinds as kinds
    left join simulated_responses as responses
        on users.user_id = responses.user_id
        and kinds.bought_on = responses.bought_on
    where users.arrival_day <= kinds.day_number
),
sized as (
    select
        user_id,
        user_index,
        second_draw,
        base_cents,
        places,
        categories,
        kind,
        posted_on,
        posted_number,
        posted_second,
        day_number,
        effect,
        draw,
        case
            when kind = 'refund' and draw % 50 <> 0 then 0
            when kind = 'copy' and draw % 400 <> 1 then 0
            when kind = 'refund' or kind = 'copy' then least(1, (rate + (draw * draw) % 2147483647 % 1000) // 1000)
            else (rate + (draw * draw) % 2147483647 % 1000) // 1000
        end as size
    from user_days
),
slots as (
    select
        sized.user_id,
        sized.user_index,
        sized.second_draw,
        sized.base_cents,
        sized.places,
        sized.categories,
        sized.kind,
        sized.posted_on,
        sized.posted_number,
        sized.posted_second,
        sized.day_number,
        sized.effect,
        sizes.slot,
        (sized.draw + sizes.slot * 1000003) % 2147483647 as draw
    from sized
    inner join simulated_sizes as sizes
        on sized.size = sizes.size
),
drawn as (
    select
        user_id,
        user_index,
        second_draw,
        base_cents,
        places,
        categories,
        kind,
        posted_on,
        posted_number,
        posted_second,
        day_number,
        effect,
        slot,
        (draw * draw + case when kind = 'response' then 50331653 else 12582917 end) % 2147483647 as draw
    from slots
),
drawn_twice as (
    select
        user_id,
        user_index,
        second_draw,
        base_cents,
        places,
        categories,
        kind,
        posted_on,
        posted_number,
        posted_second,
        day_number,
        slot,
        draw,
        (draw * draw + 25165843) % 2147483647 as next_draw
    from drawn
    where kind = 'response'
        or effect >= 0
        or (draw // 1000) % 1000 >= -effect
),
drawn_thrice as (
    select
        user_id,
        user_index,
        second_draw,
        base_cents,
        places,
        categories,
        kind,
        posted_on,
        posted_number,
        posted_second,
        day_number,
        slot,
        draw,
        next_draw,
        (next_draw * next_draw + 50331653) % 2147483647 as last_draw
    from drawn_twice
),
placed as (
    select
        user_id,
        user_index,
        kind,
        slot,
        -- The lower of two draws: the first place is the one a user goes to most.
        (second_draw // 512 % $cities) * 40
            + (second_draw // 4096 + least(draw % places, draw // 16 % places)) % 40 as store,
        (second_draw // 32768 + least(next_draw % categories, next_draw // 16 % categories)) % 24 as category,
        posted_on,
        posted_number,
        posted_second,
        25200 + last_draw % 28800 + last_draw // 28800 % 28800 as second_of_day,
        (base_cents * 510000) // (10000 + next_draw // 512 % 10000 * 50)
            * case when kind = 'refund' then -1 else 1 end
            + case when kind = 'copy' and last_draw % 2 = 0 then 100 else 0 end as cents,
        case
            when last_draw // 1000 % 200 = 0 then 86400 * (1 + last_draw // 200000 % 3)
            else 1 + last_draw % 300
        end
            + case when kind = 'copy' and last_draw % 2 = 0 then 3600 else 0 end as seconds_until_seen
    from drawn_thrice
)
select
    cast(
        (posted_number * 1000000000 + user_index) * 100
        + case kind when 'refund' then 10 when 'response' then 20 else 0 end + slot
        as varchar
    ) as transaction_id,
    cast(user_id as varchar) as user_id,
    cast(cast(posted_on as timestamp) + second_of_day * interval '1 second' as timestamp) as occurred_at,
    cast(cast(cents as decimal(14, 2)) * 0.01 as decimal(14, 2)) as amount,
    cast('chain-' || cast(store % 60 as varchar) as varchar) as merchant,
    cast('store-' || cast(store as varchar) as varchar) as location,
    cast(trim(substr($categories, cast(category * 12 + 1 as integer), 12)) as varchar) as category,
    cast(
        cast(posted_on as timestamp) + (second_of_day + seconds_until_seen) * interval '1 second' as timestamp
    ) as updated_at
from placed
where posted_second + second_of_day between 0 and $seconds - 1
    and posted_second + second_of_day + seconds_until_seen <= $seen_second
