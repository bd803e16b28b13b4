-- grain: one target of the night: drawn now, or published by an earlier run of the same night
-- inputs: night_decisions (rows of targeting), kept_targets (published rows of this night)
-- parameters: assigned_on (the target day)
select
    cast(target_id as varchar) as target_id,
    cast(campaign_id as varchar) as campaign_id,
    cast(campaign_version as integer) as campaign_version,
    cast(user_id as varchar) as user_id,
    cast(outcome as varchar) as arm,
    cast(reason as varchar) as reason,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast($assigned_on as date) as assigned_on,
    cast(valid_from as timestamp with time zone) as valid_from,
    cast(valid_until as timestamp with time zone) as valid_until
from night_decisions
where outcome in ('treatment', 'control')
union all
select
    cast(target_id as varchar) as target_id,
    cast(campaign_id as varchar) as campaign_id,
    cast(campaign_version as integer) as campaign_version,
    cast(user_id as varchar) as user_id,
    cast(arm as varchar) as arm,
    cast(reason as varchar) as reason,
    cast(location as varchar) as location,
    cast(category as varchar) as category,
    cast(assigned_on as date) as assigned_on,
    cast(valid_from as timestamp with time zone) as valid_from,
    cast(valid_until as timestamp with time zone) as valid_until
from kept_targets
