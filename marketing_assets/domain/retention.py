"""How long the lake keeps what: the first day of each kind of dataset that stays.

Pure calendar arithmetic. What removes partitions stands in `storage/retention.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from marketing_assets.domain.days import ONE_DAY
from marketing_assets.policy.model import CampaignTemplate

MARGIN_DAYS = 30
"""Days that targets stay beyond the longest look back of a cooldown."""


@dataclass(frozen=True)
class Kept:
    """The first day that is kept of each kind of dataset (`storage.datasets.Retention`)."""

    data: date
    behaviour: date
    targets: date


@dataclass(frozen=True)
class Standing:
    """What may not lose its partitions, however long ago it was.

    `newest_night` is the newest night there is, `oldest_published` the first target day that targets in
    the serving database or campaigns that are not over go back to; None where there is none.
    """

    newest_night: date | None
    oldest_published: date | None


def look_back_days(templates: Iterable[CampaignTemplate]) -> int:
    """Days that targets are kept at least: a cooldown counts from the end of the campaign before."""
    return max((each.cooldown_days + each.days for each in templates), default=0) + MARGIN_DAYS


def first_kept(
    today: date,
    standing: Standing,
    *,
    data_days: int,
    behaviour_days: int,
    look_back: int,
    window_days: int,
) -> Kept:
    """The first day that stays of each kind: so many days before `today`, and whatever is still needed.

    The window of the newest night is needed, its features and those of the day before, and every decided
    night that targets or open campaigns come from.
    """
    window, day_before, decided = [], [], []
    if standing.newest_night is not None:
        window = [standing.newest_night - timedelta(days=window_days - 1)]
        day_before = [standing.newest_night - ONE_DAY]
    if standing.oldest_published is not None:
        decided = [standing.oldest_published - ONE_DAY]
    data = min([today - timedelta(days=data_days), *window, *decided])
    return Kept(
        data=data,
        behaviour=min([today - timedelta(days=behaviour_days), *day_before]),
        targets=min(data, today - timedelta(days=look_back)),
    )
