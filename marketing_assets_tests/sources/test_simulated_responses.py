"""What offers cause in the simulated population is what `EFFECTS` says, and control is as if nothing were."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from marketing_assets.domain.days import days_between
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.sources.simulated import EFFECTS, PERSONAS, SimulatedSource, weight_of
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS, CAMPAIGNS
from marketing_assets.storage.lake import Lake

NIGHT = date(2025, 12, 1)
OFFERED = days_between(NIGHT + timedelta(1), NIGHT + timedelta(10))
USERS = 6000
MEAN_RATE = sum(persona.share * persona.mean_rate for persona in PERSONAS)


def instant(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def source(lake: Lake) -> SimulatedSource:
    return SimulatedSource(users=USERS, seed=3, lake=lake, now=lambda: datetime(2027, 1, 1, tzinfo=UTC))


def offer(engine: DuckDBEngine, lake: Lake, pattern: str) -> None:
    """A campaign for `pattern` from the day after `NIGHT`: users with even numbers are in treatment."""
    engine.register_query(
        "made_campaigns",
        f"select 'c' as campaign_id, 't' as template, 'opened' as outcome, '' as outcome_reason, "
        f"'{pattern}' as target_pattern, 1 as audience, 1 as eligible, 1 as priority, 'active' as status, "
        "1 as version, "
        f"timestamptz '{instant(OFFERED[0])}' as starts_at, timestamptz '{instant(OFFERED[-1])}' as ends_at, "
        f"0.5 as holdout_share, '{json.dumps({})}' as template_settings, 'p' as policy_version",
    )
    lake.write(engine, CAMPAIGNS, NIGHT, "made_campaigns")
    engine.register_query(
        "made_targets",
        f"select 'c' as campaign_id, 1 as campaign_version, user_id, "
        f"case when i % 2 = 0 then 'treatment' else 'control' end as arm, '{{}}' as reason, "
        f"null as location, null as category, null as spend, null as expected_cost, "
        f"date '{OFFERED[0]}' as assigned_on, "
        f"timestamptz '{instant(OFFERED[0])}' as valid_from, "
        f"timestamptz '{instant(OFFERED[-1] + timedelta(1))}' as valid_until "
        "from (select i, 'u' || substr(cast(100000000 + i as varchar), 2) as user_id "
        f"from range({USERS}) r(i))",
    )
    lake.write(engine, CAMPAIGN_TARGETS, NIGHT, "made_targets")


def purchases(engine: DuckDBEngine, lake: Lake, days: list[date]) -> dict[str, float]:
    """Purchases of the days in each arm."""
    source(lake).load(engine, "rows", instant(days[0]), instant(days[-1] + timedelta(1)))
    counted = engine.fetch(
        "select case when cast(substr(user_id, 2) as integer) % 2 = 0 then 'treatment' else 'control' end "
        f"as arm, count(*) as rows from rows where amount > 0 and user_id < 'u{USERS:08d}' group by arm"
    )
    return {str(row["arm"]): float(str(row["rows"])) for row in counted}


@pytest.mark.parametrize("pattern", ["new_shopper", "location_cluster", "frequent_shopper", "seasonal"])
def test_an_offer_causes_its_effect_in_treatment_alone(
    engine: DuckDBEngine, lake: Lake, pattern: str
) -> None:
    before = purchases(engine, lake, OFFERED)
    offer(engine, lake, pattern)
    after = purchases(engine, lake, OFFERED)
    assert after["control"] == before["control"]
    caused = after["treatment"] - before["treatment"]
    if EFFECTS[pattern] > 0:
        usual = USERS / 2 * MEAN_RATE * sum(map(weight_of, OFFERED))
    else:
        usual = before["treatment"]
    assert caused == pytest.approx(EFFECTS[pattern] * usual, abs=4 * (abs(EFFECTS[pattern]) * usual) ** 0.5)


def test_some_effect_is_zero_and_some_negative() -> None:
    assert min(EFFECTS.values()) < 0
    assert 0 in EFFECTS.values()


def test_offers_change_nothing_before_and_after_they_live(engine: DuckDBEngine, lake: Lake) -> None:
    outside = [NIGHT, OFFERED[-1] + timedelta(1)]
    before = [purchases(engine, lake, [day]) for day in outside]
    offer(engine, lake, "new_shopper")
    assert [purchases(engine, lake, [day]) for day in outside] == before


def test_effects_of_several_offers_add_up(engine: DuckDBEngine, lake: Lake) -> None:
    before = purchases(engine, lake, OFFERED)
    offer(engine, lake, "new_shopper")
    once = purchases(engine, lake, OFFERED)
    second = "select * replace ('d' as campaign_id) from "
    for dataset in (CAMPAIGNS, CAMPAIGN_TARGETS):
        lake.register(engine, "first", dataset, [NIGHT])
        engine.create(
            "both",
            f"select * exclude (day) from first union all {second} (select * exclude (day) from first)",
        )
        lake.write(engine, dataset, NIGHT, "both")
    twice = purchases(engine, lake, OFFERED)
    caused = once["treatment"] - before["treatment"]
    assert twice["treatment"] - before["treatment"] == pytest.approx(2 * caused, rel=0.1)
    assert twice["control"] == before["control"]
