-- grain: one combination of templates that users would be drawn for under either policy, with these users
-- inputs: current_targets, proposed_targets (campaign_id, user_id: drawn in the planned nights, either arm),
--         plan_units (campaign_id, template_bit: a power of two for each template)
-- parameters: none
with under_current as (
    select
        t.user_id,
        bit_or(u.template_bit) as templates
    from current_targets as t
    inner join plan_units as u on u.campaign_id = t.campaign_id
    group by t.user_id
),

under_proposed as (
    select
        t.user_id,
        bit_or(u.template_bit) as templates
    from proposed_targets as t
    inner join plan_units as u on u.campaign_id = t.campaign_id
    group by t.user_id
)

select
    cast(coalesce(c.templates, 0) as bigint) as current_templates,
    cast(coalesce(p.templates, 0) as bigint) as proposed_templates,
    cast(count(*) as bigint) as users
from under_current as c
full outer join under_proposed as p on p.user_id = c.user_id
group by
    coalesce(c.templates, 0),
    coalesce(p.templates, 0)
