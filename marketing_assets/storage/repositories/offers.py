"""What the app shows a user: open offers, filled in for them, and the patterns they have.

Each answer is one statement that gives the JSON of the whole answer, written for psycopg's own parameters:
at thousands of calls a second every other way costs more than the query itself.
"""

from typing import Final, LiteralString

from marketing_assets.storage.clock import NOW_SQL

IS_ERASED: Final = "select true from marketing.erased_users where user_hash = %(user_hash)s::text"
"""Whether this user has asked to be erased; no row where not."""

# The texts are filled in by replacing one placeholder after the other. What is put in last, a location or a
# category, is the only value that could hold braces itself, and an offer has one of the two at most.
OFFERS: Final[LiteralString] = (
    "with clock as (select " + NOW_SQL + " as at), found as ("  # noqa: S608 - constants of this package
    """
    select
        t.campaign_id, t.status, t.viewed_at, t.valid_from, t.valid_until, t.context, c.priority,
        c.campaign_type, v.settings,
        row_number() over (order by c.priority, t.campaign_id) as place,
        case v.settings -> 'offer' ->> 'unit'
            when 'percentage' then trim_scale(cast(v.settings -> 'offer' ->> 'value' as numeric)) || '%%'
            when 'fixed' then
                trim_scale(cast(v.settings -> 'offer' ->> 'value' as numeric)) || ' ' || %(currency)s::text
            else trim_scale(cast(v.settings -> 'offer' ->> 'value' as numeric)) || ' points'
        end as worth,
        coalesce(
            trim_scale(cast(v.settings ->> 'max_reward' as numeric)) || ' ' || %(currency)s::text,
            '{max_reward}'
        ) as most
    from clock
    join marketing.campaign_targets t on t.user_id = %(user_id)s::text
    join marketing.marketing_campaigns c on c.campaign_id = t.campaign_id
    join marketing.campaign_versions v on v.campaign_id = t.campaign_id and v.version = t.campaign_version
    where t.arm = 'treatment' and t.valid_from <= clock.at and clock.at < t.valid_until
        and c.status = 'active' and c.starts_at <= clock.at and clock.at < c.ends_at
        and not exists (
            select from marketing.user_consent o where o.user_id = t.user_id and o.opted_out_at is not null
        )
        and case when %(campaign_id)s::text is not null then t.campaign_id = %(campaign_id)s else
            t.dismissed_at is null
            and (c.priority, t.campaign_id) > (%(after_priority)s::integer, %(after_id)s::text)
            and (t.rewards = 0 or v.settings ->> 'reward_for' = 'every_purchase')
            and t.rewarded < coalesce(cast(v.settings ->> 'max_reward' as numeric), 'infinity')
            and exists (
                select from marketing.campaign_budgets b
                where b.campaign_id = t.campaign_id and case when b.budget is null then true else
                    b.budget - b.spent - b.reserved >= (
                        select least(
                            coalesce(
                                cast(v.settings ->> 'max_reward' as numeric),
                                cast(v.settings -> 'offer' ->> 'value' as numeric)
                            ),
                            round(
                                cast(v.settings -> 'offer' ->> 'value' as numeric)
                                * case v.settings -> 'offer' ->> 'unit'
                                    when 'fixed' then 1
                                    when 'percentage' then coalesce(max(s.average_order), 0) / 100
                                    else coalesce(max(s.average_order), 0) * %(point_value)s::numeric
                                end,
                                2
                            )
                        )
                        from marketing.user_segments s where s.user_id = t.user_id
                    )
                end
            )
        end
    order by c.priority, t.campaign_id
    limit %(limit)s::integer + 1
),
shown as (
    select place, priority, campaign_id, json_build_object(
        'campaign_id', campaign_id,
        'name', replace(replace(replace(replace(replace(settings ->> 'name',
            '{offer}', worth), '{currency}', %(currency)s::text), '{max_reward}', most),
            '{location}', coalesce(context ->> 'location', '{location}')),
            '{category}', coalesce(context ->> 'category', '{category}')),
        'description', replace(replace(replace(replace(replace(settings ->> 'description',
            '{offer}', worth), '{currency}', %(currency)s::text), '{max_reward}', most),
            '{location}', coalesce(context ->> 'location', '{location}')),
            '{category}', coalesce(context ->> 'category', '{category}')),
        'type', campaign_type,
        'offer', json_build_object(
            'type', settings -> 'offer' ->> 'type',
            'value', settings -> 'offer' ->> 'value',
            'unit', settings -> 'offer' ->> 'unit'
        ),
        'max_reward', settings ->> 'max_reward',
        'currency', %(currency)s::text,
        'location', context ->> 'location',
        'category', context ->> 'category',
        'status', status,
        'viewed_at', viewed_at,
        'priority', priority,
        'valid_from', valid_from,
        'valid_until', valid_until
    ) as item
    from found
)
select case when %(campaign_id)s::text is null then json_build_object(
        'items', coalesce(
            (select json_agg(item order by place) from shown where place <= %(limit)s::integer), '[]'
        ),
        'next_cursor', (
            select priority || '~' || campaign_id from shown
            where place = %(limit)s::integer and exists (select from shown where place > %(limit)s::integer)
        )
    ) else (select item from shown) end::text as answer
where not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
"""
)
"""A page of the user's open offers, best priority first; of one `campaign_id` alone, put away or used up or
not, the offer itself (null where it is none of theirs). No row: the user asked to be erased.

Parameters: user_id, user_hash, campaign_id (null: the page), after_priority, after_id, limit, currency,
point_value.
"""

PATTERNS: Final[LiteralString] = """
select json_build_object('items', coalesce((
    select json_agg(json_build_object(
        'pattern', p.name,
        'label', coalesce(%(labels)s::jsonb ->> p.name, p.name),
        'is_primary', p.place = 1,
        'as_of', s.as_of
    ) order by p.place)
    from marketing.user_segments s, unnest(s.patterns) with ordinality as p (name, place)
    where s.user_id = %(user_id)s::text
), '[]'))::text
where not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s::text)
"""
"""The user's patterns as of the newest night, the primary first. No row: the user asked to be erased.

Parameters: user_id, user_hash, labels (JSON: what the app calls each pattern).
"""
