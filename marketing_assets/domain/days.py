"""Business days: from midnight to midnight in one time zone, as UTC instants.

Pure calendar arithmetic. A day has 23 or 25 hours where the clock changes; its edges are computed
in the zone and turned into UTC before anything is subtracted or compared.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which `day` begins in `zone`, in UTC.

    Where that midnight does not exist, the moment the clock jumps; where it comes twice, the first.
    """
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first instant after `day` in `zone`, in UTC."""
    return start_of(day + ONE_DAY, zone)


def day_of(instant: datetime, zone: ZoneInfo) -> date:
    """The business day in which an aware instant lies."""
    return instant.astimezone(zone).date()


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included; empty where `last` is earlier."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def window(day: date, window_days: int, since: date = date.min) -> list[date]:
    """The `window_days` days that end with `day`, from `since` on."""
    return days_between(max(since, day - timedelta(days=window_days - 1)), day)


def spans(days: list[date], longest: int) -> Iterator[list[date]]:
    """Cut ascending days into pieces of at most `longest`, so that work on each fits in memory."""
    for start in range(0, len(days), longest):
        yield days[start : start + longest]


def stretches(days: Iterable[date], longest: int) -> Iterator[tuple[date, date]]:
    """First and last of each run of consecutive days, ascending, cut where one has more than `longest`."""
    ordered = sorted(days)
    while ordered:
        length = 1
        while length < min(longest, len(ordered)) and ordered[length] == ordered[length - 1] + ONE_DAY:
            length += 1
        yield ordered[0], ordered[length - 1]
        ordered = ordered[length:]
