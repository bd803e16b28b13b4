"""What the people of marketing look at: all campaigns, what became of their targets, and the segments.

Each answer is the JSON that the sidecar gives, written by PostgreSQL.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, text

from marketing_assets.domain.days import day_of, end_of, start_of
from marketing_assets.storage import clock

_CAMPAIGN: Final = """
    json_build_object(
        'campaign_id', c.campaign_id,
        'template', c.template,
        'name', c.campaign_name,
        'description', c.description,
        'type', c.campaign_type,
        'offer', json_build_object(
            'type', c.offer_type,
            'value', v.settings -> 'offer' ->> 'value',
            'unit', c.offer_unit,
            'at', v.settings -> 'offer' ->> 'at'
        ),
        'max_reward', v.settings ->> 'max_reward',
        'pattern', c.target_pattern,
        'criteria', c.qualifying_criteria,
        'status', c.status,
        'priority', c.priority,
        'starts_at', c.starts_at,
        'ends_at', c.ends_at,
        'holdout_share', cast(trim_scale(c.holdout_share) as text),
        'attribution_days', c.attribution_days,
        'origin', c.origin,
        'policy_version', c.policy_version,
        'version', c.version,
        'revision', c.revision,
        'suppressed_until', c.suppressed_until,
        'ended_by_hand_at', c.ended_by_hand_at,
        'created_by', c.created_by,
        'created_at', c.created_at,
        'updated_at', c.updated_at,
        'budget', json_build_object(
            'budget', cast(b.budget as text),
            'reserved', cast(coalesce(b.reserved, 0.00) as text),
            'spent', cast(coalesce(b.spent, 0.00) as text)
        )
    )
"""
_FROM: Final = """
    from marketing.marketing_campaigns c
    join marketing.campaign_versions v on v.campaign_id = c.campaign_id and v.version = c.version
    left join marketing.campaign_budgets b on b.campaign_id = c.campaign_id
"""
_PAGE: Final = text(
    "with found as (select c.campaign_id, cast(extract(epoch from c.starts_at) * 1000000 as bigint) as place,"  # noqa: S608 - constants of this module
    " row_number() over (order by c.starts_at desc, c.campaign_id desc) as number,"
    + _CAMPAIGN
    + " as item"
    + _FROM
    + """
    where c.status = coalesce(cast(:status as text), c.status)
        and (cast(:place as bigint) is null
            or (cast(extract(epoch from c.starts_at) * 1000000 as bigint), c.campaign_id)
                < (cast(:place as bigint), cast(:after as text)))
    order by c.starts_at desc, c.campaign_id desc
    limit :limit + 1)
    select cast(json_build_object(
        'items', coalesce((select json_agg(item order by number) from found where number <= :limit), '[]'),
        'next_cursor', (select place || '~' || campaign_id from found
            where number = :limit and exists (select from found where number > :limit))
    ) as text)
    """
)

# One row a campaign, a type and overall, by what is not null. Of users who were erased nothing is left.
_FUNNELS: Final = """
with picked as (
    select c.campaign_id, c.campaign_type, c.status, c.starts_at, c.ends_at
    from marketing.marketing_campaigns c
    where case when cast(:campaign_id as text) is not null then c.campaign_id = :campaign_id
        else c.starts_at < :ends_at and c.ends_at > :starts_at end
),
counted as (
    select
        p.campaign_id, p.campaign_type,
        count(*) filter (where t.arm = 'treatment') as targeted,
        count(*) filter (where t.arm = 'control') as control,
        count(t.viewed_at) as viewed,
        count(t.dismissed_at) as dismissed,
        count(*) filter (where t.status = 'converted') as converted,
        coalesce(sum(t.rewarded), 0.00) as cost,
        round(avg(s.average_order), 2) as own_average_order,
        percentile_cont(0.5) within group (order by extract(epoch from t.converted_at - t.valid_from))
            as seconds_to_conversion
    from picked p
    join marketing.campaign_targets t on t.campaign_id = p.campaign_id
    left join marketing.user_segments s on t.status = 'converted' and s.user_id = t.user_id
    group by grouping sets ((p.campaign_id, p.campaign_type), (p.campaign_type), ())
),
of_campaign as (
    select
        p.campaign_id, p.campaign_type,
        count(distinct e.user_id) filter (where e.kind = 'click') as clicked,
        count(*) filter (where e.kind = 'conversion') as orders,
        coalesce(sum(e.amount) filter (where e.kind = 'conversion'), 0.00) as revenue
    from picked p
    join marketing.campaign_events e on e.campaign_id = p.campaign_id
    group by p.campaign_id, p.campaign_type
),
reported as (
    select campaign_id, campaign_type, sum(clicked) as clicked, sum(orders) as orders, sum(revenue) as revenue
    from of_campaign
    group by grouping sets ((campaign_id, campaign_type), (campaign_type), ())
),
levels as (
    select campaign_id, campaign_type from picked
    union select null, campaign_type from picked
    union select null, null
),
funnels as (
    select l.campaign_id, l.campaign_type, jsonb_build_object(
        'targeted', coalesce(n.targeted, 0),
        'control', coalesce(n.control, 0),
        'viewed', coalesce(n.viewed, 0),
        'clicked', coalesce(r.clicked, 0),
        'dismissed', coalesce(n.dismissed, 0),
        'converted', coalesce(n.converted, 0),
        'click_through', round(r.clicked / nullif(n.viewed, 0), 6),
        'conversion_rate', round(100.0 * n.converted / nullif(n.targeted, 0), 4),
        'revenue', cast(coalesce(r.revenue, 0.00) as text),
        'average_order', cast(round(r.revenue / nullif(r.orders, 0), 2) as text),
        'own_average_order', cast(n.own_average_order as text),
        'seconds_to_conversion', n.seconds_to_conversion,
        'cost', cast(coalesce(n.cost, 0.00) as text),
        'net', cast(coalesce(r.revenue, 0.00) - coalesce(n.cost, 0.00) as text),
        'lift', jsonb_build_object('value', null, 'reason', 'not measured yet')
    ) as funnel
    from levels l
    left join counted n on n.campaign_id is not distinct from l.campaign_id
        and n.campaign_type is not distinct from l.campaign_type
    left join reported r on r.campaign_id is not distinct from l.campaign_id
        and r.campaign_type is not distinct from l.campaign_type
)
"""
_ONE: Final = text(
    _FUNNELS  # noqa: S608 - constants of this module
    + "select c.revision, cast(cast("
    + _CAMPAIGN
    + " as jsonb) || jsonb_build_object('metrics',"
    + " (select funnel from funnels where campaign_id = c.campaign_id)) as text)"
    + _FROM
    + "where c.campaign_id = :campaign_id"
)
_ANALYTICS: Final = text(
    _FUNNELS  # noqa: S608 - constants of this module
    + """
select cast(json_build_object(
    'from', cast(:first as date),
    'to', cast(:last as date),
    'overall', (select funnel from funnels where campaign_type is null),
    'by_type', coalesce((
        select json_agg(f.funnel || jsonb_build_object('type', f.campaign_type,
            'campaigns', (select count(*) from picked p where p.campaign_type = f.campaign_type))
            order by f.campaign_type)
        from funnels f where f.campaign_id is null and f.campaign_type is not null
    ), '[]'),
    'campaigns', coalesce((
        select json_agg(f.funnel || jsonb_build_object('campaign_id', p.campaign_id,
            'type', p.campaign_type, 'status', p.status, 'starts_at', p.starts_at, 'ends_at', p.ends_at)
            order by p.starts_at desc, p.campaign_id)
        from funnels f join picked p on p.campaign_id = f.campaign_id
    ), '[]'),
    'active', (select count(*) from picked where status in ('active', 'paused') and ends_at > :now),
    'expired', (select count(*) from picked where status in ('expired', 'archived') or ends_at <= :now),
    'nights', n.nights,
    'campaigns_per_night', round(1.0 * (
        select count(*) from picked where starts_at >= :starts_at and starts_at < :ends_at
    ) / nullif(n.nights, 0), 4),
    'suppressed', coalesce((
        select json_agg(json_build_object('template', c.template, 'campaign_id', c.campaign_id,
            'until', c.suppressed_until) order by c.template, c.campaign_id)
        from marketing.marketing_campaigns c
        where c.origin = 'policy'
            and (c.suppressed_until > :now or (c.status = 'paused' and c.ends_at > :now))
    ), '[]')
) as text)
from (
    select count(*) as nights from marketing.published_nights
    where status in ('published', 'stale')
        and day between cast(:first as date) - 1 and cast(:last as date) - 1
) n
"""
)
_SEGMENTS: Final = text(
    """
select cast(json_build_object('items', coalesce(json_agg(json_build_object(
    'pattern', pattern,
    'label', coalesce(cast(:labels as jsonb) ->> pattern, pattern),
    'day', day,
    'users', users,
    'share', share,
    'spend', cast(spend as text),
    'average_order', cast(average_order as text)
) order by users desc, pattern), '[]')) as text)
from marketing.segment_summary
where day = (select max(day) from marketing.segment_summary)
"""
)

_EARLIEST, _LATEST = date(1900, 1, 1), date(9000, 1, 1)


@dataclass(frozen=True)
class ShownCampaign:
    """A campaign as JSON, and the revision that it has."""

    revision: int
    body: str


def campaigns(engine: Engine, status: str | None, after: tuple[int, str] | None, limit: int) -> str:
    """A page of campaigns, those that start last first.

    Args:
        engine: of the serving database.
        status: only these; None: all.
        after: start (microseconds since 1970) and id of the last one of the page before; None: first page.
        limit: campaigns at most.
    """
    place, campaign_id = (None, None) if after is None else after
    parameters = {"status": status, "place": place, "after": campaign_id, "limit": limit}
    with engine.connect() as connection:
        return str(connection.execute(_PAGE, parameters).scalar_one())


def campaign(engine: Engine, campaign_id: str) -> ShownCampaign | None:
    """One campaign with what became of its targets; None where there is none."""
    parameters = {"campaign_id": campaign_id, "starts_at": None, "ends_at": None}
    with engine.connect() as connection:
        row = connection.execute(_ONE, parameters).one_or_none()
    return None if row is None else ShownCampaign(row[0], row[1])


def analytics(engine: Engine, first: date, last: date, zone: ZoneInfo) -> str:
    """How the campaigns did that were open in the business days from `first` to `last`."""
    with engine.connect() as connection:
        parameters = {
            "campaign_id": None,
            "first": first,
            "last": last,
            "starts_at": start_of(_within(first), zone),
            "ends_at": end_of(_within(last), zone),
            "now": clock.now(connection),
        }
        return str(connection.execute(_ANALYTICS, parameters).scalar_one())


def _within(day: date) -> date:
    """The day, or the nearest that begins and ends in every zone; no campaign is that old or that late."""
    return min(max(day, _EARLIEST), _LATEST)


def segments(engine: Engine, labels: str) -> str:
    """The segments of the newest night, the largest first; `labels` is JSON, names by pattern."""
    with engine.connect() as connection:
        return str(connection.execute(_SEGMENTS, {"labels": labels}).scalar_one())


def today(engine: Engine, zone: ZoneInfo) -> date:
    """The business day that it is."""
    with engine.connect() as connection:
        return day_of(clock.now(connection), zone)
