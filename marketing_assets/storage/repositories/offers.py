"""What the app shows a user: open offers with the promise that was made to them, and the patterns they have.

Statements for psycopg's own parameters, each one round trip: they run thousands of times a second.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from marketing_assets.storage.clock import NOW_SQL

IS_ERASED: Final = "select true from marketing.erased_users where user_hash = %(user_hash)s"
"""Whether this user has asked to be erased; no row where not."""

OFFERS: Final = (
    "with me as materialized (select " + NOW_SQL + " as at,"  # noqa: S608 - constants of this package
    " exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s) as is_erased,"
    " exists (select from marketing.user_consent o where o.user_id = %(user_id)s"
    " and o.opted_out_at is not null) as has_opted_out)"
    " select me.is_erased, t.campaign_id, t.campaign_version, c.revision, c.priority, t.status, t.viewed_at,"
    " t.valid_from, t.valid_until, t.context ->> 'location', t.context ->> 'category',"
    " t.dismissed_at is not null, t.rewards, t.rewarded, b.budget - b.spent - b.reserved"
    " from me left join (marketing.campaign_targets t"
    " join marketing.marketing_campaigns c on c.campaign_id = t.campaign_id"
    " join marketing.campaign_budgets b on b.campaign_id = t.campaign_id"
    ") on t.user_id = %(user_id)s and t.arm = 'treatment' and not me.has_opted_out"
    " and t.valid_from <= me.at and me.at < t.valid_until"
    " and c.status = 'active' and c.starts_at <= me.at and me.at < c.ends_at"
)
"""The user's targets whose offer is alive, in no order, as rows of `OpenTarget` (see there for none).

Parameters: user_id, user_hash.
"""


class OpenTarget(NamedTuple):
    """A target whose offer is alive; a user without one has one row with nulls, which says `is_erased`.

    `left` is the money of the campaign's budget that is neither spent nor reserved, None where unlimited.
    """

    is_erased: bool
    campaign_id: str
    campaign_version: int
    revision: int
    priority: int
    status: str
    viewed_at: datetime | None
    valid_from: datetime
    valid_until: datetime
    location: str | None
    category: str | None
    is_dismissed: bool
    rewards: int
    rewarded: Decimal
    left: Decimal | None


TERMS: Final = (
    "select c.campaign_type, cast(v.settings as text) from marketing.campaign_versions v"
    " join marketing.marketing_campaigns c on c.campaign_id = v.campaign_id"
    " where v.campaign_id = %(campaign_id)s and v.version = %(version)s"
)
"""Type of a campaign and the frozen terms of one of its versions. Parameters: campaign_id, version."""

AVERAGE_ORDER: Final = "select average_order from marketing.user_segments where user_id = %(user_id)s"
"""The user's average order, money, as of the newest night."""

PATTERNS: Final = (
    "select cast(json_build_object('items', coalesce(("
    " select json_agg(json_build_object('pattern', p.name,"
    " 'label', coalesce(cast(%(labels)s as jsonb) ->> p.name, p.name),"
    " 'is_primary', p.place = 1, 'as_of', s.as_of) order by p.place)"
    " from marketing.user_segments s, unnest(s.patterns) with ordinality as p (name, place)"
    " where s.user_id = %(user_id)s), '[]')) as text)"
    " where not exists (select from marketing.erased_users e where e.user_hash = %(user_hash)s)"
)
"""The user's patterns as of the newest night as JSON, the primary first. No row: the user asked to be erased.

Parameters: user_id, user_hash, labels (JSON: what the app calls each pattern).
"""
