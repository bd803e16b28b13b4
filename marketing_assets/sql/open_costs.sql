-- grain: one campaign with what its targets that are open and have not converted may still cost, in money
-- inputs: earlier_targets, kept_targets (published by an earlier run of this night), converted_targets
--         (campaign_id, user_id)
-- parameters: begins (start of the target day)
with published as (
    select
        campaign_id,
        user_id,
        expected_cost,
        valid_until
    from earlier_targets
    union all
    select
        campaign_id,
        user_id,
        expected_cost,
        valid_until
    from kept_targets
)

select
    cast(p.campaign_id as varchar) as campaign_id,
    cast(sum(p.expected_cost) as decimal(38, 6)) as expected_cost
from published as p
left join converted_targets as c on c.campaign_id = p.campaign_id and c.user_id = p.user_id
where c.user_id is null and p.valid_until > $begins
group by p.campaign_id
