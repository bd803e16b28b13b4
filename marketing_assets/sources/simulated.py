"""A simulated population whose truth is known, at any size: who buys what, and what offers really cause.

Everything follows from the seed; the rows are drawn by `sql/simulated_*.sql`, a day at a time. The truth
stands here as tables: `PERSONAS` (how users behave), `PATTERN_SHARES` (how many users show each pattern)
and `EFFECTS` (what an offer changes). SEMANTICS has no rule for this module: nothing decides by it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from marketing_assets.domain.days import days_between
from marketing_assets.engine.base import Engine, Schema, Value, sql
from marketing_assets.sources.base import DayCount
from marketing_assets.sources.counting import count_changed, count_rows
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS
from marketing_assets.storage.lake import Lake

if TYPE_CHECKING:
    from marketing_assets.sources.base import Source

_FIRST_DAY = date(2015, 11, 1)
_REFUND_AFTER_DAYS = 6
_LATEST = timedelta(days=5)  # a row is seen at most three days and an hour after it occurred
_LONGEST_CAMPAIGN_DAYS = 120
_MOST_PURCHASES_A_DAY = 8
_WEEKDAY_WEIGHTS = (0.90, 0.88, 0.92, 0.98, 1.18, 1.32, 0.82)
_PAYDAY_WEIGHT, _PAYDAYS, _OTHER_WEIGHT = 1.20, 5, 0.96
_CATEGORIES = (
    "groceries", "fuel", "restaurants", "pharmacy", "clothing", "electronics", "home", "garden", "books",
    "toys", "sports", "beauty", "pets", "travel", "hotels", "parking", "transit", "cinema", "music", "coffee",
    "bakery", "hardware", "jewellery", "gifts",
)  # fmt: skip


@dataclass(frozen=True)
class Persona:
    """How one kind of user behaves, for ever.

    Every `cycle_days` days the user buys at `rate` for `busy_days` and at `quiet_rate` for the rest, both
    purchases an average day; when in the cycle, differs from user to user. An order is on average 4.0 times
    `base`, in the currency; the user has from `places` to `places` locations.
    """

    name: str
    share: float
    rate: float
    base: float
    places: tuple[int, int] = (3, 8)
    cycle_days: int = 1
    busy_days: int = 1
    quiet_rate: float = 0.0

    @property
    def mean_rate(self) -> float:
        """Purchases an average day over the whole cycle: what the effect of an offer is a share of."""
        quiet = self.cycle_days - self.busy_days
        return (self.rate * self.busy_days + self.quiet_rate * quiet) / self.cycle_days


PERSONAS = (
    Persona("high_spender", 0.05, 2.2, 10.0),
    Persona("frequent_shopper", 0.36, 1.6, 3.5),
    Persona("location_cluster", 0.20, 1.2, 3.0, places=(1, 2)),
    Persona("new_shopper", 0.10, 1.4, 6.0, cycle_days=45),
    Persona("seasonal", 0.13, 2.4, 3.0, cycle_days=120, busy_days=45, quiet_rate=0.4),
    Persona("inactive", 0.09, 1.2, 3.5, cycle_days=150, busy_days=60),
    Persona("general", 0.07, 0.13, 5.0),
)

PATTERN_SHARES = {
    "high_spender": 0.048,
    "inactive": 0.057,
    "new_shopper": 0.104,
    "seasonal": 0.18,
    "frequent_shopper": 0.808,
    "location_cluster": 0.275,
    "general": 1.0,
}
"""Share of a day's users who show each pattern of the default policy, at any size and on any day."""

EFFECTS = {
    "high_spender": 0.05,
    "inactive": 0.25,
    "new_shopper": 0.40,
    "seasonal": -0.05,
    "frequent_shopper": 0.0,
    "location_cluster": 0.10,
    "general": 0.02,
}
"""What a treatment offer adds to its user's mean purchases while it lives, by the campaign's pattern."""


class SimulatedSource:
    """The rows of a population that a tenth of `users` joins each year, from 2015-11-01 on.

    Args:
        users: how many there are at the end of 2025, about (1.7% more); a tenth of them more each year.
        seed: another one gives another population.
        lake: says which offers are alive, so that users respond to them.
        now: the instant it is; rows that arrive later are not there yet.
    """

    name = "simulated"
    zone = ZoneInfo("UTC")
    has_update_time = True

    def __init__(self, *, users: int, seed: int, lake: Lake, now: Callable[[], datetime]) -> None:
        self._users = users
        self._seed = seed
        self._lake = lake
        self._now = now
        self._prepared: Engine | None = None

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        """See `Source.load`."""
        dates = days_between(
            start_at.astimezone(UTC).date(), (end_at - timedelta.resolution).astimezone(UTC).date()
        )
        bought_on = sorted({*dates, *(day - timedelta(_REFUND_AFTER_DAYS) for day in dates)})
        self._register_users(engine, dates[-1])
        _register_kinds(engine, dates, start_at)
        self._register_responses(engine, bought_on)
        engine.create(
            relation,
            sql("simulated_transactions"),
            {
                "seconds": int((end_at - start_at).total_seconds()),
                "seen_second": int((self._now() - start_at).total_seconds()),
                "cities": max(5, min(500, self._users // 2000)),
                "categories": "".join(name.ljust(12) for name in _CATEGORIES),
            },
        )
        engine.drop("simulated_users", "simulated_responses")

    def now(self) -> datetime:
        """See `Source.now`."""
        return self._now()

    def changed_days(
        self, engine: Engine, first: date, last: date, zone: ZoneInfo, since: datetime
    ) -> list[DayCount] | None:
        """See `Source.changed_days`; what lies further back than a row is ever late did not change."""
        first = max(first, (since - _LATEST).date())
        return count_changed(engine, self, first, last, zone, since) if first <= last else []

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> list[DayCount]:
        """See `Source.counted_days`."""
        return count_rows(engine, self, first, last, zone)

    def _register_users(self, engine: Engine, day: date) -> None:
        if self._prepared is not engine:
            _register_constants(engine)
            self._prepared = engine
        arrivals = max(0, (day - _FIRST_DAY).days + 1) * self._users // 3650
        parameters: dict[str, Value] = {"arrivals": arrivals, "users": self._users, "seed": self._seed}
        engine.create("simulated_users", sql("simulated_users"), parameters)

    def _register_responses(self, engine: Engine, bought_on: Sequence[date]) -> None:
        earliest = bought_on[0] - timedelta(_LONGEST_CAMPAIGN_DAYS)
        nights = [day for day in self._lake.days(CAMPAIGN_TARGETS) if earliest <= day < bought_on[-1]]
        self._lake.register(engine, "offered_targets", CAMPAIGN_TARGETS, nights)
        self._lake.register(engine, "offered_campaigns", CAMPAIGNS, nights)
        noon = time(12, tzinfo=UTC)
        engine.register_rows(
            "simulated_dates",
            [("bought_on", "date"), ("noon_at", "timestamp with time zone")],
            [(day, datetime.combine(day, noon)) for day in bought_on],
        )
        engine.create("simulated_responses", sql("simulated_responses"))
        engine.drop("offered_targets", "offered_campaigns")


def weight_of(day: date) -> float:
    """How much is bought on `day`, next to an average day: the week's rhythm, and more after payday."""
    return _WEEKDAY_WEIGHTS[day.weekday()] * (_PAYDAY_WEIGHT if day.day <= _PAYDAYS else _OTHER_WEIGHT)


def _register_kinds(engine: Engine, dates: Sequence[date], start_at: datetime) -> None:
    schema = [("kind", "varchar"), ("bought_on", "date"), ("posted_on", "date"), ("posted_number", "bigint"),
              ("posted_second", "bigint"),
              ("day_number", "bigint"), ("weight", "bigint")]  # fmt: skip
    rows: list[Sequence[Value]] = []
    for day in dates:
        second = int((datetime.combine(day, time(), UTC) - start_at).total_seconds())
        for kind, bought_on in (
            ("purchase", day),
            ("copy", day),
            ("response", day),
            ("refund", day - timedelta(_REFUND_AFTER_DAYS)),
        ):
            number = (bought_on - _FIRST_DAY).days
            rows.append(
                (
                    kind,
                    bought_on,
                    day,
                    (day - _FIRST_DAY).days,
                    second,
                    number,
                    round(weight_of(bought_on) * 1000),
                )
            )
    engine.register_rows("simulated_kinds", schema, rows)


def _register_constants(engine: Engine) -> None:
    tables: dict[str, tuple[Schema, list[Sequence[Value]]]] = {
        "simulated_digits": ([("digit", "bigint")], [(digit,) for digit in range(1000)]),
        "simulated_sizes": (
            [("size", "bigint"), ("slot", "bigint")],
            [(size, slot + 1) for size in range(1, _MOST_PURCHASES_A_DAY + 1) for slot in range(size)],
        ),
        "simulated_effects": (
            [("pattern", "varchar"), ("effect", "bigint")],
            [(pattern, round(effect * 1000)) for pattern, effect in EFFECTS.items()],
        ),
        "simulated_personas": (
            [("permille", "integer"), ("persona", "varchar"),
             *((name, "integer") for name in ("rate", "quiet_rate", "mean_rate", "cycle_days", "busy_days",
                                            "base_cents", "fewest_places", "most_places"))],
            _persona_rows(),
        ),
    }  # fmt: skip
    for relation, (schema, rows) in tables.items():
        engine.register_rows(relation, schema, rows)


def _persona_rows() -> list[Sequence[Value]]:
    """Each thousandth of the users with the traits of its persona."""
    rows: list[Sequence[Value]] = []
    for persona in PERSONAS:
        traits = (
            persona.name,
            round(persona.rate * 1000),
            round(persona.quiet_rate * 1000),
            round(persona.mean_rate * 1000),
            persona.cycle_days,
            persona.busy_days,
            round(persona.base * 100),
            *persona.places,
        )
        rows += [(len(rows) + index, *traits) for index in range(round(persona.share * 1000))]
    return rows


if TYPE_CHECKING:
    _: type[Source] = SimulatedSource
