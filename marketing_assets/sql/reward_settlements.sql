-- grain: one reserved reward that is settled now: spent where its purchase was found, else released when its
--   time is up; all others wait
-- inputs: reserved_rewards, reward_purchases (user_id, event_id, amount of the ledger),
--   reward_terms (one row a version of a campaign: reward(amount) = least(cap, fixed + rate x amount), money)
-- parameters: night_ends (the end of the night's day), complete_since (the instant from which on the ledger has
--   every business day up to the night's)
select
    cast(r.user_id as varchar) as user_id,
    cast(r.event_id as varchar) as event_id,
    cast(r.campaign_id as varchar) as campaign_id,
    cast(r.amount as decimal(14, 2)) as reserved,
    cast(
        case
            when p.event_id is null then 0
            else least(r.amount, t.reward_cap, round(t.reward_fixed + t.reward_rate * p.amount, 2))
        end as decimal(14, 2)
    ) as spent,
    cast(case when p.event_id is null then 'released' else 'spent' end as varchar) as state,
    cast(case when p.event_id is null then 'not_found' end as varchar) as reason
from reserved_rewards as r
left join reward_purchases as p on p.user_id = r.user_id and p.event_id = r.event_id
left join reward_terms as t on t.campaign_id = r.campaign_id and t.campaign_version = r.campaign_version
where p.event_id is not null
    or (r.waits_until <= $night_ends and r.occurred_at >= $complete_since)
