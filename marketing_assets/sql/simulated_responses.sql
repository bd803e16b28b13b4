-- grain: one user and date on which offers that are alive change what the user buys
-- inputs: offered_targets and offered_campaigns (campaign_targets and campaigns of the nights before),
--   simulated_effects (pattern; effect on purchases in thousandths), simulated_dates (bought_on; noon_at, the
--   middle of it)
-- parameters: none
with offers as (
    select distinct
        campaigns.campaign_id,
        effects.effect
    from offered_campaigns as campaigns
    inner join simulated_effects as effects
        on campaigns.target_pattern = effects.pattern
)
select
    cast(targets.user_id as varchar) as user_id,
    cast(dates.bought_on as date) as bought_on,
    cast(greatest(-900, least(1000, sum(offers.effect))) as bigint) as effect
from offered_targets as targets
inner join offers
    on targets.campaign_id = offers.campaign_id
inner join simulated_dates as dates
    on targets.valid_from <= dates.noon_at
    and targets.valid_until > dates.noon_at
where targets.arm = 'treatment'
    and offers.effect <> 0
group by
    targets.user_id,
    dates.bought_on
