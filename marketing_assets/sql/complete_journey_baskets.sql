-- grain: one basket of The Complete Journey with a line between two instants, in its own time
-- inputs: complete_journey_transactions (one product of one basket), complete_journey_products
-- parameters: read_from, read_until (instants as they really were, half-open; a day wider than what is asked
--   for, so that a basket whose lines lie apart is whole)
with lines as (
    select
        sold.basket_id,
        sold.household_id,
        sold.store_id,
        sold.transaction_timestamp,
        cast(sold.sales_value as decimal(14, 2)) as sales_value,
        products.department
    from complete_journey_transactions as sold
    left join complete_journey_products as products
        on sold.product_id = products.product_id
    where sold.transaction_timestamp >= cast($read_from as timestamp)
        and sold.transaction_timestamp < cast($read_until as timestamp)
),
baskets as (
    select
        basket_id,
        household_id,
        store_id,
        min(transaction_timestamp) as occurred_at,
        sum(sales_value) as amount
    from lines
    group by
        basket_id,
        household_id,
        store_id
),
departments as (
    select
        basket_id,
        department,
        row_number() over (
            partition by basket_id
            order by sum(sales_value) desc, department asc
        ) as place
    from lines
    where department is not null
    group by
        basket_id,
        department
)
select
    cast(baskets.basket_id as varchar) as basket_id,
    cast(baskets.household_id as varchar) as household_id,
    cast(baskets.store_id as varchar) as store_id,
    cast(baskets.occurred_at as timestamp) as occurred_at,
    cast(baskets.amount as decimal(14, 2)) as amount,
    cast(departments.department as varchar) as department
from baskets
left join departments
    on baskets.basket_id = departments.basket_id
    and departments.place = 1
