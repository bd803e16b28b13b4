-- grain: one decision on a user and a campaign: every draw, and a refusal that differs from the pair's last
-- inputs: night_decisions (rows of targeting_refusals and targeting_round), open_campaigns, kept_decisions
--         (this night's published log rows),
--         earlier_decisions (log rows of earlier nights, with their day)
-- parameters: policy_version
with last_refusals as (
    select
        campaign_id,
        user_id,
        arg_max(outcome, day) as outcome
    from earlier_decisions
    where outcome not in ('treatment', 'control')
    group by
        campaign_id,
        user_id
)

select
    cast(c.campaign_id as varchar) as campaign_id,
    cast(n.user_id as varchar) as user_id,
    cast(n.outcome as varchar) as outcome,
    cast(n.reason as varchar) as reason,
    cast(n.detail as varchar) as detail,
    cast(case when n.outcome in ('treatment', 'control') then n.bucket_digits end as varchar) as bucket_digits,
    cast($policy_version as varchar) as policy_version
from night_decisions as n
inner join open_campaigns as c on c.place = n.place
left join last_refusals as r on r.campaign_id = c.campaign_id and r.user_id = n.user_id
where n.outcome in ('treatment', 'control') or r.outcome is null or r.outcome <> n.outcome
union all
select
    cast(campaign_id as varchar) as campaign_id,
    cast(user_id as varchar) as user_id,
    cast(outcome as varchar) as outcome,
    cast(reason as varchar) as reason,
    cast(detail as varchar) as detail,
    cast(bucket_digits as varchar) as bucket_digits,
    cast(policy_version as varchar) as policy_version
from kept_decisions
where outcome in ('treatment', 'control')
