-- grain: one pair that a step before the limits refuses
-- inputs: targeting_pairs
-- parameters: none
select
    cast(p.place as integer) as place,
    cast(p.user_id as varchar) as user_id,
    cast(p.refusal as varchar) as outcome,
    cast(p.reason as varchar) as reason,
    cast(p.refusal_detail as varchar) as detail,
    cast(p.location as varchar) as location,
    cast(p.category as varchar) as category,
    cast(null as varchar) as bucket_digits,
    cast(p.spend as decimal(14, 2)) as spend,
    cast(null as decimal(18, 6)) as expected_cost
from targeting_pairs as p
where p.refusal is not null
