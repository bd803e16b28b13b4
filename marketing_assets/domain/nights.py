"""Which nights are decided, measured or recorded now: the past is measured again, never decided again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from marketing_assets.domain.days import ONE_DAY, day_of, days_between, end_of, stretches
from marketing_assets.errors import NightError

PATIENCE = timedelta(minutes=15)
"""How long after its time a night may begin before it counts as missed."""

MOST_TRIES = 4
"""How often the same run is tried before it is left to a person."""

LONGEST_STRETCH = 31
"""How many days are measured as one run at most."""

_AGAIN_AFTER = timedelta(minutes=15)

Standing = Literal["decide", "stays", "missed"]


def standing(
    day: date, now: datetime, zone: ZoneInfo, newest_decided: date | None, *, decided: bool
) -> Standing:
    """Whether the night of `day` is decided now (SEMANTICS, "The past is measured again").

    Args:
        day: the night; its target day is the one after.
        now: the instant it is, from the one clock.
        zone: the zone of business days.
        newest_decided: the newest night that was ever decided.
        decided: whether this night itself was.

    Returns:
        `decide`; `stays` where it was decided and is too old to be touched; `missed` where it never
        was and comes too late.

    Raises:
        NightError: `day` is not over yet.
    """
    today = day_of(now, zone)
    if day >= today:
        raise NightError(
            f"the business day {day} is not over yet: it is {today} in {zone.key}",
            remedy=f"run it after midnight; the newest day that is over is {today - timedelta(days=1)}",
        )
    too_old = newest_decided is not None and day < newest_decided
    if not too_old and now < end_of(day + timedelta(days=1), zone):
        return "decide"
    return "stays" if decided else "missed"


def due_at(day: date, at: time, zone: ZoneInfo) -> datetime:
    """When the night of `day` is due, in UTC: at this time of the day after."""
    return datetime.combine(day + ONE_DAY, at, zone).astimezone(UTC)


def again_at(tries: int, ended: datetime, *, transient: bool) -> datetime | None:
    """When a run that failed is tried again by itself; None where it is left to a person.

    Args:
        tries: how often it was tried.
        ended: when the last try did.
        transient: whether the cause of its failure can pass by itself.
    """
    return ended + _AGAIN_AFTER if transient and tries < MOST_TRIES else None


@dataclass(frozen=True)
class Repair:
    """What missed nights need, oldest first; empty where nothing is missing.

    `decide` is the one night that is still decided; `measure` are stretches of days whose features and
    patterns are missing, `record` the nights that can no longer be decided and have no row that says so.
    """

    decide: date | None = None
    measure: tuple[tuple[date, date], ...] = ()
    record: tuple[date, ...] = ()


def repair(
    now: datetime,
    zone: ZoneInfo,
    at: time,
    nights: Mapping[date, bool],
    measured: Collection[date],
    keep_days: int,
) -> Repair:
    """What is missing and what to do about it (SEMANTICS, "The past is measured again").

    Nights before the first decided one are not looked at: nothing is missing there.

    Args:
        now: the instant it is, from the one clock.
        zone: the zone of business days.
        at: the time of day at which a night is due.
        nights: the nights that are recorded, and whether each was decided.
        measured: days that have patterns.
        keep_days: how many days patterns are kept; older ones are not missing.
    """
    decided = [day for day, was_decided in nights.items() if was_decided]
    if not decided:
        return Repair()
    yesterday = day_of(now, zone) - ONE_DAY
    too_late = days_between(min(decided), yesterday - ONE_DAY)
    kept_from = yesterday - timedelta(days=keep_days - 1)
    unmeasured = [day for day in too_late if day >= kept_from and day not in measured]
    due = now >= due_at(yesterday, at, zone) + PATIENCE
    missed = due and yesterday > max(decided) and yesterday not in nights
    return Repair(
        decide=yesterday if missed else None,
        measure=tuple(stretches(unmeasured, LONGEST_STRETCH)),
        record=tuple(day for day in too_late if day not in nights),
    )
