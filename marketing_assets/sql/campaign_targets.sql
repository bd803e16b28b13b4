-- grain: one target of the night: drawn now, or published by an earlier run of the same night
-- inputs: night_decisions (all rows of targeting_refusals and targeting_round), open_campaigns,
--         kept_targets (published rows of this night)
-- parameters: none
select
    cast(c.campaign_id as varchar) as campaign_id,
    cast(c.campaign_version as integer) as campaign_version,
    cast(n.user_id as varchar) as user_id,
    cast(n.outcome as varchar) as arm,
    cast(n.reason as varchar) as reason,
    cast(n.location as varchar) as location,
    cast(n.category as varchar) as category,
    cast(n.spend as decimal(14, 2)) as spend,
    cast(n.expected_cost as decimal(18, 6)) as expected_cost,
    cast(c.assigned_on as date) as assigned_on,
    cast(c.valid_from as timestamp with time zone) as valid_from,
    cast(c.valid_until as timestamp with time zone) as valid_until
from night_decisions as n
inner join open_campaigns as c on c.place = n.place
where n.outcome in ('treatment', 'control')
union all
select
    cast(campaign_id as varchar) as campaign_id,
    cast(campaign_version as integer) as campaign_version,
    cast(user_id as varchar) as user_id,
    cast(arm as varchar) as arm,
    cast(reason as varchar) as reason,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(spend as decimal(14, 2)) as spend,
    cast(expected_cost as decimal(18, 6)) as expected_cost,
    cast(assigned_on as date) as assigned_on,
    cast(valid_from as timestamp with time zone) as valid_from,
    cast(valid_until as timestamp with time zone) as valid_until
from kept_targets
