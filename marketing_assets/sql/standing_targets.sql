-- grain: one published target of a campaign that is open on the target day and not paused
-- inputs: slot_campaigns (campaign_id: open, unpaused), earlier_targets (published by earlier nights),
--         kept_targets (published by an earlier run of this night)
-- parameters: none
with published as (
    select
        campaign_id,
        user_id
    from earlier_targets
    union all
    select
        campaign_id,
        user_id
    from kept_targets
)

select
    cast(p.campaign_id as varchar) as campaign_id,
    cast(p.user_id as varchar) as user_id
from published as p
inner join slot_campaigns as c on c.campaign_id = p.campaign_id
