"""The simulated population keeps its promises: deterministic, habits, rhythm, growth, truth of patterns."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from marketing_assets.domain.days import days_between, window
from marketing_assets.domain.patterns import pattern_matches
from marketing_assets.engine.base import sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.policy.load import load_policy
from marketing_assets.sources.simulated import PATTERN_SHARES, PERSONAS, SimulatedSource, weight_of
from marketing_assets.storage.lake import Lake
from marketing_assets_tests.sources.helpers import ingest_days, loaded

DAY = date(2025, 12, 28)
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)


def source(lake: Lake, users: int = 1000, seed: int = 1, now: datetime = LONG_AFTER) -> SimulatedSource:
    return SimulatedSource(users=users, seed=seed, lake=lake, now=lambda: now)


def start(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def load_days(
    engine: DuckDBEngine, made: SimulatedSource, days: Sequence[date], relation: str = "rows"
) -> None:
    made.load(engine, relation, start(days[0]), start(days[-1] + timedelta(1)))


def test_the_shares_of_the_personas_are_whole(lake: Lake) -> None:
    assert sum(round(persona.share * 1000) for persona in PERSONAS) == 1000


def test_the_same_seed_gives_the_same_rows_in_any_piece(engine: DuckDBEngine, lake: Lake) -> None:
    days = days_between(DAY - timedelta(2), DAY)
    whole = loaded(engine, source(lake), start(days[0]), start(DAY + timedelta(1)))
    pieces = [
        row for day in days for row in loaded(engine, source(lake), start(day), start(day + timedelta(1)))
    ]
    assert sorted(map(repr, whole)) == sorted(map(repr, pieces))
    assert len(whole) > 2000


def test_an_interval_that_cuts_days_gives_the_rows_inside_it(engine: DuckDBEngine, lake: Lake) -> None:
    edge = start(DAY) + timedelta(hours=15)
    whole = loaded(engine, source(lake), start(DAY), start(DAY + timedelta(1)))
    morning = loaded(engine, source(lake), start(DAY), edge)
    evening = loaded(engine, source(lake), edge, start(DAY + timedelta(1)))
    assert sorted(map(repr, whole)) == sorted(map(repr, morning + evening))
    assert all(str(row["occurred_at"]) < str(edge.replace(tzinfo=None)) for row in morning)
    assert min(len(morning), len(evening)) > 100


def test_another_seed_gives_another_population(engine: DuckDBEngine, lake: Lake) -> None:
    one = loaded(engine, source(lake), start(DAY), start(DAY + timedelta(1)))
    other = loaded(engine, source(lake, seed=2), start(DAY), start(DAY + timedelta(1)))
    shared = {repr(row) for row in one} & {repr(row) for row in other}
    assert len(shared) < 0.01 * len(one)


def test_users_keep_one_to_eight_places_and_categories(engine: DuckDBEngine, lake: Lake) -> None:
    load_days(engine, source(lake), window(DAY, 90))
    habits = engine.fetch(
        "select max(locations) as most_locations, max(categories) as most_categories, "
        "min(locations) as fewest, avg(top_share) as top_share from ("
        "select user_id, count(distinct location) as locations, count(distinct category) as categories, "
        "max(purchases) / sum(purchases) as top_share from ("
        "select user_id, location, category, "
        "count(*) over (partition by user_id, location) as purchases from rows) group by user_id)"
    )[0]
    assert (habits["most_locations"], habits["most_categories"], habits["fewest"]) == (8, 8, 1)


def test_the_week_and_the_month_have_a_rhythm(engine: DuckDBEngine, lake: Lake) -> None:
    days = days_between(date(2025, 11, 1), date(2025, 11, 28))
    load_days(engine, source(lake, users=4000), days)
    counted = engine.fetch(
        "select cast(occurred_at as date) as day, count(*) as rows from rows where amount > 0 group by day"
    )
    rows = {row["day"]: int(str(row["rows"])) for row in counted}
    mean = sum(rows.values()) / sum(map(weight_of, days))
    for day in days:
        assert rows[day] == pytest.approx(mean * weight_of(day), rel=0.08), day
    assert rows[date(2025, 11, 22)] > 1.4 * rows[date(2025, 11, 23)], "Saturday over Sunday"
    assert rows[date(2025, 11, 3)] > 1.15 * rows[date(2025, 11, 10)], "payday"


def test_users_arrive_and_none_buys_before(engine: DuckDBEngine, lake: Lake) -> None:
    made = source(lake, users=3650)
    counts = []
    for day in (date(2020, 10, 31), date(2025, 10, 31)):
        load_days(engine, made, window(day, 90))
        counts.append(int(str(engine.fetch("select count(distinct user_id) as n from rows")[0]["n"])))
    assert counts[0] == pytest.approx(1827, abs=20)
    assert counts[1] == pytest.approx(3653, abs=30)
    load_days(engine, made, [date(2015, 10, 31)])
    assert engine.fetch("select count(*) as n from rows") == [{"n": 0}]


def test_lapsed_users_stay_away_and_come_back(engine: DuckDBEngine, lake: Lake) -> None:
    made = source(lake, users=2000)
    load_days(engine, made, days_between(DAY - timedelta(299), DAY))
    persona = next(one for one in PERSONAS if one.name == "inactive")
    before = round(1000 * sum(one.share for one in PERSONAS[: PERSONAS.index(persona)]))
    engine.create("simulated_users", sql("simulated_users"), {"arrivals": 2000, "users": 2000, "seed": 1})
    gaps = engine.fetch(
        "select user_id, max(gap) as gap from (select user_id, date_diff('day', "
        "lag(occurred_at) over (partition by user_id order by occurred_at), occurred_at) as gap from rows "
        "where amount > 0 and user_id in ("
        "select user_id from simulated_users where permille >= $low and permille < $high)"
        ") group by user_id",
        {"low": before, "high": before + round(1000 * persona.share)},
    )
    silent = persona.cycle_days - persona.busy_days
    assert len(gaps) > 100
    assert sum(silent <= int(str(row["gap"])) <= silent + 12 for row in gaps) > 0.95 * len(gaps)


def test_refunds_duplicates_corrections_and_late_rows(engine: DuckDBEngine, lake: Lake) -> None:
    days = days_between(DAY - timedelta(9), DAY)
    done = ingest_days(engine, lake, source(lake, users=5000), *days)
    read = sum(day.read for day in done.values())
    assert sum(day.rejected for day in done.values()) == 0
    assert 0.0003 < sum(day.duplicates for day in done.values()) / read < 0.003
    assert 0.0003 < sum(day.superseded for day in done.values()) / read < 0.003
    load_days(engine, source(lake, users=5000), days)
    shares: dict[str, Any] = engine.fetch(
        "select avg(case when amount < 0 then 1 else 0 end) as refunds, "
        "avg(case when updated_at > occurred_at + interval '1 day' then 1 else 0 end) as late from rows"
    )[0]
    assert 0.005 < shares["refunds"] < 0.03
    assert 0.003 < shares["late"] < 0.007


def test_a_refund_gives_back_a_purchase_of_six_days_before(engine: DuckDBEngine, lake: Lake) -> None:
    load_days(engine, source(lake, users=3000), days_between(DAY - timedelta(6), DAY))
    refunded = engine.fetch(
        "select count(*) as refunds, count(p.user_id) as bought from (select * from rows where amount < 0 "
        "and cast(occurred_at as date) = $day) as r left join rows as p on p.user_id = r.user_id "
        "and p.amount = -r.amount and p.location = r.location and p.category = r.category "
        "and p.occurred_at = r.occurred_at - interval '6 days'",
        {"day": DAY},
    )[0]
    assert int(str(refunded["refunds"])) > 20
    assert refunded["bought"] >= refunded["refunds"]  # type: ignore[operator]


def test_a_late_row_is_not_there_before_its_time(engine: DuckDBEngine, lake: Lake) -> None:
    two_hours_after = start(DAY + timedelta(1)) + timedelta(hours=2)
    then = loaded(engine, source(lake, 5000, now=two_hours_after), start(DAY), start(DAY + timedelta(1)))
    later = loaded(engine, source(lake, 5000), start(DAY), start(DAY + timedelta(1)))
    arrived = {repr(row) for row in later} - {repr(row) for row in then}
    assert {repr(row) for row in then} <= {repr(row) for row in later}
    assert 0.002 * len(later) < len(arrived) < 0.01 * len(later)
    assert all(str(row["updated_at"]) <= "2025-12-29 02:00:00" for row in then)


@pytest.mark.parametrize("day", [DAY, date(2026, 5, 17)])
def test_patterns_hold_for_known_shares_of_the_users(engine: DuckDBEngine, lake: Lake, day: date) -> None:
    users = 4000
    shares = measured_shares(engine, source(lake, users, seed=7), day)
    assert shares.keys() == PATTERN_SHARES.keys()
    for pattern, expected in PATTERN_SHARES.items():
        sampling = 4 * (expected * (1 - expected) / users) ** 0.5
        assert shares[pattern] == pytest.approx(expected, abs=0.01 + sampling), pattern


def measured_shares(engine: DuckDBEngine, made: SimulatedSource, day: date) -> dict[str, float]:
    """Share of the day's users who have each pattern of the default policy."""
    load_days(engine, made, window(day, 90))
    engine.register_query(
        "window_transactions",
        "select 0 as bucket, user_id, location, category, occurred_at, amount, "
        "cast(occurred_at as date) as day from rows",
    )
    parameters: dict[str, Any] = {"day": day, "window_days": 90, "bucket_from": 0, "bucket_to": 255}
    engine.create("user_features", sql("user_features"), parameters)
    engine.create("matches", pattern_matches(load_policy(None).patterns))
    counted = engine.fetch(
        "select pattern, count(*) / (select count(*) from user_features) as share from matches "
        "group by pattern"
    )
    return {str(row["pattern"]): float(str(row["share"])) for row in counted}
