-- grain: one campaign that takes targets this night: its audience, refusals by step, and targets of both arms
-- inputs: night_campaigns, open_campaigns, night_decisions (rows of targeting_refusals and targeting_round),
--         night_targets (also of an earlier run of the night)
-- parameters: none
with drawn as (
    select
        campaign_id,
        count(*) filter (where arm = 'treatment') as treatment,
        count(*) filter (where arm = 'control') as control,
        cast(sum(expected_cost) as decimal(38, 6)) as expected_cost
    from night_targets
    group by campaign_id
),

refused as (
    select
        c.campaign_id,
        count(*) filter (where n.outcome = 'no_context') as no_context,
        count(*) filter (where n.outcome = 'opted_out') as opted_out,
        count(*) filter (where n.outcome = 'global_holdout') as global_holdout,
        count(*) filter (where n.outcome = 'cooling_off') as cooling_off,
        count(*) filter (where n.outcome = 'too_late') as too_late,
        count(*) filter (where n.outcome = 'limit') as over_limit,
        count(*) filter (where n.outcome = 'budget') as over_budget
    from night_decisions as n
    inner join open_campaigns as c on c.place = n.place
    group by c.campaign_id
)

select
    cast(c.campaign_id as varchar) as campaign_id,
    cast(c.audience as bigint) as audience,
    cast(coalesce(r.no_context, 0) as bigint) as no_context,
    cast(coalesce(r.opted_out, 0) as bigint) as opted_out,
    cast(coalesce(r.global_holdout, 0) as bigint) as global_holdout,
    cast(coalesce(r.cooling_off, 0) as bigint) as cooling_off,
    cast(coalesce(r.too_late, 0) as bigint) as too_late,
    cast(coalesce(r.over_limit, 0) as bigint) as over_limit,
    cast(coalesce(r.over_budget, 0) as bigint) as over_budget,
    cast(coalesce(d.control, 0) as bigint) as control,
    cast(coalesce(d.treatment, 0) as bigint) as treatment,
    cast(coalesce(d.expected_cost, 0) as decimal(38, 6)) as expected_cost
from night_campaigns as c
left join drawn as d on d.campaign_id = c.campaign_id
left join refused as r on r.campaign_id = c.campaign_id
where c.outcome in ('opened', 'kept')
order by
    c.priority,
    c.campaign_id
