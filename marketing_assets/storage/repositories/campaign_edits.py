"""What people do to campaigns: create one by hand, edit, pause, resume and end them.

Each function works in the caller's transaction, for one campaign, and writes `audit_log`. It holds the
campaign's row as any update does, which neither waits for a night that is being published nor makes it wait;
`revision` says which state of the campaign was seen, so that of two people at once the second hears of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, func, insert, select, true, update

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.domain.edits import (
    CampaignEdit,
    NewCampaign,
    edited,
    is_new_version,
    manual_campaign,
    refuse_end,
)
from marketing_assets.errors import RefusedChangeError, StaleRevisionError, UnknownCampaignError
from marketing_assets.policy.model import CampaignTemplate, Policy, frozen_terms
from marketing_assets.storage.repositories import audit
from marketing_assets.storage.repositories.campaigns import insert_opened
from marketing_assets.storage.tables import (
    campaign_budgets,
    campaign_pauses,
    campaign_versions,
    marketing_campaigns,
)

_OVER = ("expired", "archived")


@dataclass(frozen=True)
class Editor:
    """Who changes a campaign and when; `name` is a role or a member of staff, never a user's id."""

    name: str
    at: datetime


@dataclass(frozen=True)
class Revised:
    """A campaign as a change left it."""

    campaign_id: str
    revision: int
    version: int
    status: str


@dataclass(frozen=True)
class Rest:
    """How long a template rests after the end of a campaign that was paused or ended by hand."""

    days: int
    zone: ZoneInfo

    def after(self, end: datetime) -> datetime:
        """The same time of day, so many days later."""
        return (end.astimezone(self.zone) + timedelta(days=self.days)).astimezone(UTC)


@dataclass(frozen=True)
class _Held:
    """What is known of a campaign whose row this transaction holds."""

    campaign_id: str
    origin: str
    status: str
    starts_at: datetime
    ends_at: datetime
    suppressed_until: datetime | None
    version: int
    revision: int


def create_manual(
    connection: Connection, new: NewCampaign, policy: Policy, zone: ZoneInfo, by: Editor
) -> Revised:
    """Create a campaign by hand; nights target it from the first whose target day it is open on.

    Where the id is taken by another campaign of this name and start day, it gets the next number.

    Raises:
        RefusedChangeError: it makes no sense.
    """
    for number in count(1):
        campaign = manual_campaign(new, policy, by.at, zone, number)
        if insert_opened(connection, [campaign], by.name):
            break
    state: dict[str, object] = {
        "status": campaign.status,
        "starts_at": _shown(campaign.starts_at),
        "ends_at": _shown(campaign.ends_at),
        **_texts(frozen_terms(campaign.settings)),
    }
    _record(connection, campaign.campaign_id, "created", {}, state, by)
    return Revised(campaign.campaign_id, 1, campaign.version, campaign.status)


def edit(
    connection: Connection, campaign_id: str, revision: int, change: CampaignEdit, by: Editor
) -> Revised:
    """Change what is given in `change`; it counts for new targets, existing ones keep their promise.

    Another offer or control share is a new version; other texts take the place of those of the newest one.

    Raises:
        UnknownCampaignError: there is no such campaign.
        StaleRevisionError: somebody else changed it since.
        RefusedChangeError: it is over, makes no sense, or more than the budget is reserved and spent already.
    """
    held = _hold(connection, campaign_id, revision)
    _refuse_over(held, by.at)
    before = _newest_terms(connection, held)
    after = edited(before, change)
    version = held.version + is_new_version(before, after)
    ends_at = held.ends_at if change.ends_at is None else change.ends_at.astimezone(UTC)
    if ends_at != held.ends_at:
        refuse_end(held.starts_at, ends_at, by.at)
    if "budget" in change.model_fields_set:
        _set_budget(connection, campaign_id, after.budget)
    _write_terms(connection, held, version, after)
    suppressed = held.suppressed_until
    values: dict[str, object] = {
        "version": version,
        "ends_at": ends_at,
        "suppressed_until": None if suppressed is None else suppressed + (ends_at - held.ends_at),
        "campaign_name": after.name,
        "description": after.description,
        "offer_type": after.offer.type,
        "offer_value": after.offer.value,
        "offer_unit": after.offer.unit,
        "holdout_share": after.holdout_share,
        "priority": after.priority,
    }
    revised = _revise(connection, held, values, by.at)
    old = {"version": held.version, "ends_at": _shown(held.ends_at), **_texts(before)}
    new = {"version": version, "ends_at": _shown(ends_at), **_texts(after)}
    changed = [name for name in new if old[name] != new[name]]
    _record(
        connection,
        campaign_id,
        "edited",
        {name: old[name] for name in changed},
        {name: new[name] for name in changed},
        by,
    )
    return revised


def pause(connection: Connection, campaign_id: str, revision: int, rest: Rest, by: Editor) -> Revised:
    """Hide the campaign and add nobody until it is resumed; its template opens no other meanwhile.

    Raises:
        UnknownCampaignError: there is no such campaign.
        StaleRevisionError: somebody else changed it since.
        RefusedChangeError: it is not active, or over.
    """
    held = _hold(connection, campaign_id, revision)
    _refuse_over(held, by.at)
    if held.status != "active":
        raise RefusedChangeError(
            f"{campaign_id} is {held.status}", remedy="only an active campaign is paused"
        )
    pauses = campaign_pauses
    # One that ended at this very instant (a clock that stands still) goes on.
    connection.execute(delete(pauses).where(pauses.c.campaign_id == campaign_id, pauses.c.paused_at == by.at))
    connection.execute(insert(pauses).values(campaign_id=campaign_id, paused_at=by.at))
    values = {"status": "paused", "suppressed_until": _suppressed_until(held, rest)}
    return _change_status(connection, held, "paused", values, by)


def resume(connection: Connection, campaign_id: str, revision: int, by: Editor) -> Revised:
    """Show a paused campaign again and let its template open others; one that is over stays over.

    Raises:
        UnknownCampaignError: there is no such campaign.
        StaleRevisionError: somebody else changed it since.
        RefusedChangeError: it is neither paused nor keeps its template from opening.
    """
    held = _hold(connection, campaign_id, revision)
    if held.status != "paused" and held.suppressed_until is None:
        raise RefusedChangeError(
            f"{campaign_id} is {held.status}",
            remedy="only a paused campaign is resumed, or one that was and still suppresses its template",
        )
    pauses = campaign_pauses
    mine = (pauses.c.campaign_id == campaign_id) & pauses.c.resumed_at.is_(None)
    if held.status == "paused":
        resumed_at = func.greatest(pauses.c.paused_at, by.at)
        connection.execute(update(pauses).where(mine).values(resumed_at=resumed_at))
    status = "active" if held.status == "paused" else held.status
    return _change_status(connection, held, "resumed", {"status": status, "suppressed_until": None}, by)


@dataclass(frozen=True)
class Change:
    """What somebody changes in one go; `status` active resumes, paused pauses, None leaves it as it is."""

    edits: CampaignEdit
    status: str | None
    rest: Rest


def change(connection: Connection, campaign_id: str, revision: int, wanted: Change, by: Editor) -> Revised:
    """Edit, then pause or resume where the campaign has not that status yet.

    Raises: see `edit`, `pause` and `resume`.
    """
    held = _hold(connection, campaign_id, revision)
    revised = Revised(campaign_id, held.revision, held.version, held.status)
    if wanted.edits.model_fields_set:
        revised = edit(connection, campaign_id, revised.revision, wanted.edits, by)
    if wanted.status in (None, revised.status):
        return revised
    if wanted.status == "paused":
        revised = pause(connection, campaign_id, revised.revision, wanted.rest, by)
    else:
        revised = resume(connection, campaign_id, revised.revision, by)
    return revised


def end_now(
    connection: Connection, campaign_id: str, revision: int | None, rest: Rest, by: Editor
) -> Revised:
    """End the campaign: every offer of it is hidden at once, and its template rests as if it had run on.

    One that has not begun keeps its dates, and never begins. Whatever was changed in it meanwhile, where
    `revision` is None.

    Raises:
        UnknownCampaignError: there is no such campaign.
        StaleRevisionError: somebody else changed it since.
        RefusedChangeError: it is over already.
    """
    held = _hold(connection, campaign_id, revision)
    _refuse_over(held, by.at)
    values: dict[str, object] = {
        "status": "expired",
        "ends_at": by.at if held.starts_at < by.at else held.ends_at,
        "ended_by_hand_at": by.at,
        "suppressed_until": _suppressed_until(held, rest),
    }
    return _change_status(connection, held, "ended", values, by)


def _hold(connection: Connection, campaign_id: str, revision: int | None) -> _Held:
    """The campaign, its row held against other changes until the transaction ends; None is any revision.

    Its terms are read afterwards: joined to it they would be those from before a change that was waited for.
    """
    campaigns = marketing_campaigns
    statement = (
        select(
            campaigns.c.campaign_id,
            campaigns.c.origin,
            campaigns.c.status,
            campaigns.c.starts_at,
            campaigns.c.ends_at,
            campaigns.c.suppressed_until,
            campaigns.c.version,
            campaigns.c.revision,
        )
        .where(campaigns.c.campaign_id == campaign_id)
        .with_for_update(key_share=True)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise UnknownCampaignError(
            f"there is no campaign {campaign_id!r}", remedy="name one that the list of campaigns shows"
        )
    held = _Held(**row._mapping)
    if revision is not None and held.revision != revision:
        raise StaleRevisionError(
            f"{campaign_id} was changed meanwhile: it is at revision {held.revision}, not {revision}",
            remedy="read it again, and ask again where the change still makes sense",
            revision=held.revision,
        )
    return held


def _refuse_over(held: _Held, at: datetime) -> None:
    if held.status in _OVER or held.ends_at <= at:
        raise RefusedChangeError(
            f"{held.campaign_id} is over",
            remedy="create another campaign; one that is over never opens again",
        )


def _newest_terms(connection: Connection, held: _Held) -> CampaignTemplate:
    versions = campaign_versions
    mine = (versions.c.campaign_id == held.campaign_id) & (versions.c.version == held.version)
    return frozen_terms(
        canonical_json(connection.execute(select(versions.c.settings).where(mine)).scalar_one())
    )


def _write_terms(connection: Connection, held: _Held, version: int, terms: CampaignTemplate) -> None:
    versions, settings = campaign_versions, terms.model_dump(mode="json")
    if version != held.version:
        values = {"campaign_id": held.campaign_id, "version": version, "settings": settings}
        connection.execute(insert(versions).values(values))
    else:
        mine = (versions.c.campaign_id == held.campaign_id) & (versions.c.version == version)
        connection.execute(update(versions).where(mine).values(settings=settings))


def _set_budget(connection: Connection, campaign_id: str, budget: Decimal | None) -> None:
    """One statement, so that a reward that is reserved meanwhile is counted."""
    budgets = campaign_budgets
    mine = budgets.c.campaign_id == campaign_id
    fits = true() if budget is None else budgets.c.reserved + budgets.c.spent <= budget
    if connection.execute(update(budgets).where(mine, fits).values(budget=budget)).rowcount == 0:
        row = connection.execute(select(budgets).where(mine)).one()
        raise RefusedChangeError(
            f"budget: {row.spent} is spent and {row.reserved} reserved already, more than {budget}",
            remedy=f"give it at least {row.spent + row.reserved}, or end the campaign",
        )


def _suppressed_until(held: _Held, rest: Rest) -> datetime | None:
    return rest.after(held.ends_at) if held.origin == "policy" else None


def _change_status(
    connection: Connection, held: _Held, action: str, values: Mapping[str, object], by: Editor
) -> Revised:
    revised = _revise(connection, held, values, by.at)
    before = {name: _shown(getattr(held, name)) for name in values if hasattr(held, name)}
    after = {name: _shown(values[name]) for name in before}
    _record(connection, held.campaign_id, action, before, after, by)
    return revised


def _revise(connection: Connection, held: _Held, values: Mapping[str, object], at: datetime) -> Revised:
    campaigns = marketing_campaigns
    statement = (
        update(campaigns)
        .where(campaigns.c.campaign_id == held.campaign_id)
        .values(**values, revision=campaigns.c.revision + 1, updated_at=at)
        .returning(campaigns.c.campaign_id, campaigns.c.revision, campaigns.c.version, campaigns.c.status)
    )
    return Revised(**connection.execute(statement).one()._mapping)


def _record(
    connection: Connection,
    campaign_id: str,
    action: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    by: Editor,
) -> None:
    change = audit.Change(by.name, f"campaign.{action}", f"campaign:{campaign_id}", before, after)
    audit.record(connection, [change], by.at)


def _texts(terms: CampaignTemplate) -> dict[str, object]:
    """What an edit can change of the terms, as JSON says it."""
    return terms.model_dump(
        mode="json", include={"name", "description", "offer", "budget", "holdout_share", "priority"}
    )


def _shown(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
