-- grain: one day, outcome (kept, duplicate, superseded, rejected, undated, erased) and reason
-- inputs: ingest_rows, contested_ids, contested_rows, undated_rows, erased_rows (day: one row of an erased
--   user that was read and is not in ingest_rows)
-- parameters: none
with outcomes as (
    select
        rows.day,
        case when rows.reason is null then 'kept' else 'rejected' end as outcome,
        rows.reason,
        count(*) as row_count
    from ingest_rows as rows
    left join contested_ids
        on rows.transaction_id = contested_ids.transaction_id
    where rows.day is not null
        and (rows.reason is not null or contested_ids.transaction_id is null)
    group by
        rows.day,
        rows.reason
    union all
    select
        day,
        case when place = 1 then 'kept' else 'superseded' end as outcome,
        case when place > 1 then 'superseded' end as reason,
        count(*) as row_count
    from contested_rows
    group by
        day,
        place
    union all
    select
        day,
        'duplicate' as outcome,
        cast(null as varchar) as reason,
        sum(copies - 1) as row_count
    from contested_rows
    group by day
    union all
    select
        day,
        'undated' as outcome,
        reason,
        count(*) as row_count
    from undated_rows
    group by
        day,
        reason
    union all
    select
        day,
        'erased' as outcome,
        cast(null as varchar) as reason,
        count(*) as row_count
    from erased_rows
    group by day
)
select
    cast(day as date) as day,
    cast(outcome as varchar) as outcome,
    cast(reason as varchar) as reason,
    cast(sum(row_count) as bigint) as row_count
from outcomes
group by
    day,
    outcome,
    reason
order by
    day,
    outcome,
    reason
