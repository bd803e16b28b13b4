-- grain: one id that more than one acceptable row carries
-- inputs: ingest_rows
-- parameters: none
select cast(transaction_id as varchar) as transaction_id
from ingest_rows
where reason is null
group by transaction_id
having count(*) > 1
