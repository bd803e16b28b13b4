"""Whether a night is decided now: the past is measured again, never decided again."""

from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from marketing_assets.domain.days import day_of, end_of
from marketing_assets.errors import NightError

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
