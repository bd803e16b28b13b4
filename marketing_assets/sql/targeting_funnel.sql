-- grain: one campaign that takes targets this night, with its audience, refusals and targets of both arms
-- inputs: night_campaigns, night_decisions (rows of targeting), night_targets (also of an earlier run of the night)
-- parameters: none
with drawn as (
    select
        campaign_id,
        count(*) filter (where arm = 'treatment') as treatment,
        count(*) filter (where arm = 'control') as control
    from night_targets
    group by campaign_id
),

refused as (
    select
        campaign_id,
        count(*) as refused
    from night_decisions
    where outcome = 'limit'
    group by campaign_id
)

select
    cast(c.campaign_id as varchar) as campaign_id,
    cast(c.audience as bigint) as audience,
    cast(coalesce(r.refused, 0) as bigint) as refused_limit,
    cast(coalesce(d.control, 0) as bigint) as control,
    cast(coalesce(d.treatment, 0) as bigint) as treatment
from night_campaigns as c
left join drawn as d on d.campaign_id = c.campaign_id
left join refused as r on r.campaign_id = c.campaign_id
where c.outcome in ('opened', 'kept')
order by
    c.priority,
    c.campaign_id
