-- grain: one user who may not join a campaign yet, with the campaign of its template that ended last for them
-- inputs: resting_campaigns (campaign_id, earlier_campaign, ended_on), earlier_targets (of either arm)
-- parameters: none
select
    cast(r.campaign_id as varchar) as campaign_id,
    cast(t.user_id as varchar) as user_id,
    cast(arg_max(r.earlier_campaign, (r.ended_on, r.earlier_campaign)) as varchar) as earlier_campaign,
    cast(max(r.ended_on) as date) as ended_on
from resting_campaigns as r
inner join earlier_targets as t on t.campaign_id = r.earlier_campaign
group by
    r.campaign_id,
    t.user_id
