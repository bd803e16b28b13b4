-- grain: one reserved reward whose purchase is in the ledger: of its user, with its transaction id, while its
--   offer lived, and at the offer's location or category where it has one; not one that was paid for a campaign
--   that is archived by now (while it is not, the table of rewards refuses a second claim)
-- inputs: reserved_rewards, ledger (kept rows of every day on which one of these offers lived), archived_rewards
-- parameters: none
--
-- An id stands in the ledger once; should it stand there on two days, the later row counts.
select
    cast(r.user_id as varchar) as user_id,
    cast(r.event_id as varchar) as event_id,
    cast(arg_max(t.amount, (t.occurred_at, t.amount)) as decimal(14, 2)) as amount
from reserved_rewards as r
inner join ledger as t on t.user_id = r.user_id and t.transaction_id = r.transaction_id
left join archived_rewards as a
    on a.user_id = r.user_id and a.transaction_id = r.transaction_id and a.state = 'spent'
where a.event_id is null
    and t.amount > 0
    and t.occurred_at >= r.valid_from
    and t.occurred_at < r.valid_until
    and (r.location is null or t.location = r.location)
    and (r.category is null or t.category = r.category)
group by
    r.user_id,
    r.event_id
