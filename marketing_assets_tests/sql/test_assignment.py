"""Assignment at scale, through the SQL of the steps: shares, independence, stability, exchangeable arms."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_assets.domain.assignment import held_out, share_bound
from marketing_assets.domain.targeting import OpenCampaign
from marketing_assets.engine.base import Value, sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.orchestration.targeting import decide, global_holdout
from marketing_assets.policy.load import load_policy

MILLION = 1_000_000
STEPS = (
    "targeting_pairs",
    "targeting_refusals",
    "targeting_round",
    "cooling_users",
    "standing_targets",
    "open_costs",
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    made = DuckDBEngine(memory_limit="1GiB", threads=2, temp_directory=tmp_path_factory.mktemp("spill"))
    made.create("ids", f"select 'user-' || i as user_id from range({MILLION}) r(i)")
    yield made
    made.close()


def held(
    engine: DuckDBEngine, salts: tuple[str, str], shares: tuple[str, str]
) -> dict[tuple[bool, bool], int]:
    """Of a million users, how many are held out under both salts, one of them, or neither."""
    parameters: dict[str, Value] = {}
    for number, (salt, share) in enumerate(zip(salts, shares, strict=True)):
        parameters |= {f"salt{number}": salt, f"below{number}": share_bound(Decimal(share))}
    rows = engine.fetch(
        "select substr(md5(concat($salt0, ':', user_id)), 1, 8) < $below0 as one,"
        " substr(md5(concat($salt1, ':', user_id)), 1, 8) < $below1 as other, count(*) as users"
        " from ids group by all",
        parameters,
    )
    return {(bool(row["one"]), bool(row["other"])): int(str(row["users"])) for row in rows}


@pytest.mark.parametrize(
    ("salts", "shares"),
    [
        (("global:2026", "vip-rewards-2026-11-22"), ("0.05", "0.1")),
        (("global:2026", "global:2027"), ("0.05", "0.05")),
        (("loyalty-bonus-2026-11-22", "loyalty-bonus-2027-01-21"), ("0.5", "0.1")),
    ],
)
def test_a_million_users_have_their_shares_and_two_salts_are_independent(
    engine: DuckDBEngine, salts: tuple[str, str], shares: tuple[str, str]
) -> None:
    found = held(engine, salts, shares)
    one, other = (float(share) for share in shares)
    for share, count in (
        (one, sum(users for (first, _), users in found.items() if first)),
        (other, sum(users for (_, second), users in found.items() if second)),
    ):
        error = math.sqrt(MILLION * share * (1 - share))
        assert abs(count - MILLION * share) < 4 * error
    chi_square = sum(
        (users - expected) ** 2 / expected
        for (first, second), users in found.items()
        for expected in [MILLION * (one if first else 1 - one) * (other if second else 1 - other)]
    )
    assert chi_square < 20  # three degrees of freedom: once in six thousand salts


def campaign(name: str, place: int, pattern: str, budget: str | None = None, rounds: int = 1) -> OpenCampaign:
    return OpenCampaign(
        campaign_id=name,
        campaign_version=1,
        target_pattern=pattern,
        place=place,
        round=rounds,
        control_below=share_bound(Decimal("0.1")),
        offer_at="top_location" if place == 2 else None,
        cooldown_days=30,
        days_left=30,
        days_needed=7,
        reward_fixed=Decimal(0),
        reward_rate=Decimal("0.1"),
        reward_cap=Decimal(25),
        cost_share=Decimal("0.045"),
        budget=None if budget is None else Decimal(budget),
        committed=None if budget is None else Decimal(0),
        assigned_on=date(2026, 1, 2),
        valid_from=datetime(2026, 1, 2, tzinfo=UTC),
        valid_until=datetime(2026, 2, 2, tzinfo=UTC),
    )


CAMPAIGNS = (
    campaign("one-2026", 1, "high", budget="4000"),
    campaign("two-2026", 2, "any", rounds=2),
    campaign("three-2026", 3, "any", budget="9000", rounds=2),
    campaign("four-2026", 4, "high", rounds=3),
)


def decided(engine: DuckDBEngine, users: int) -> None:
    """A night over `users` with every step at work; spend follows from the number, nothing is random."""
    engine.create(
        "user_features",
        "select 'user-' || i as user_id, cast(5000 - i % 997 * 5 as decimal(14, 2)) as spend,"
        " cast(10 + i % 89 as decimal(14, 2)) as average_order,"
        " case when i % 11 > 0 then 'store' end as top_location, 'food' as top_category"
        f" from range({users}) r(i)",
    )
    engine.create(
        "qualified_users",
        "select user_id, 'any' as pattern, '{}' as reason from user_features"
        " union all select user_id, 'high', '{}' from user_features where spend > 2500",
    )
    engine.create("opted_out", f"select 'user-' || i * 17 as user_id from range({users // 17}) r(i)")
    engine.create(
        "cooling_users",
        "select 'one-2026' as campaign_id, 'user-' || i * 13 as user_id, 'old' as earlier_campaign,"
        f" date '2026-01-01' as ended_on from range({users // 13}) r(i)",
    )
    engine.create(
        "standing_targets",
        f"select 'four-2026' as campaign_id, 'user-' || i * 5 as user_id from range({users // 5}) r(i)",
    )
    policy = load_policy(None)
    limits = policy.limits.model_copy(update={"max_active_campaigns": 2})
    holdout = global_holdout(datetime(2026, 1, 2, tzinfo=UTC).date(), Decimal("0.05"))
    decide(engine, CAMPAIGNS, holdout, policy.model_copy(update={"limits": limits}))


def test_under_all_steps_the_arms_are_exchangeable(engine: DuckDBEngine) -> None:
    decided(engine, 200_000)
    outcomes = {str(row["outcome"]) for row in engine.fetch("select distinct outcome from night_decisions")}
    assert outcomes >= {"no_context", "opted_out", "global_holdout", "cooling_off", "limit", "budget"}
    rows = engine.fetch(
        "select place, outcome, count(*) as n, avg(n.spend) as spend, var_samp(n.spend) as spend_variance,"
        " avg(f.average_order) as orders, var_samp(f.average_order) as orders_variance"
        " from night_decisions n join user_features f using (user_id)"
        " where outcome in ('treatment', 'control') group by place, outcome order by place, outcome"
    )
    assert len(rows) == 8
    for control, treatment in zip(rows[::2], rows[1::2], strict=True):
        n_c, n_t = (int(str(row["n"])) for row in (control, treatment))
        assert abs(n_c - 0.1 * (n_c + n_t)) < 4 * math.sqrt((n_c + n_t) * 0.09)
        for measure in ("spend", "orders"):
            means = [float(str(row[measure])) for row in (control, treatment)]
            errors = [
                float(str(row[f"{measure}_variance"])) / n for row, n in ((control, n_c), (treatment, n_t))
            ]
            assert abs(means[0] - means[1]) < 4 * math.sqrt(sum(errors)), (control["place"], measure)


def test_no_step_before_the_draw_names_an_arm_or_what_a_user_did() -> None:
    for name in STEPS:
        statement = "\n".join(line for line in sql(name).splitlines() if not line.startswith("--"))
        read, _, decided_by = statement.partition("outcome")
        assert not re.search(r"\barm\b|viewed|clicked|credit", read + decided_by), name


def arms(engine: DuckDBEngine) -> dict[tuple[int, str], str]:
    rows = engine.fetch("select place, user_id, outcome from night_decisions")
    return {(int(str(row["place"])), str(row["user_id"])): str(row["outcome"]) for row in rows}


def test_nobody_moves_when_users_are_added(engine: DuckDBEngine) -> None:
    decided(engine, 20_000)
    before = arms(engine)
    decided(engine, 30_000)
    after = arms(engine)
    drawn = {"treatment", "control"}
    stayed = [pair for pair, arm in before.items() if arm in drawn and after[pair] in drawn]
    assert len(stayed) > 10_000
    assert all(before[pair] == after[pair] for pair in stayed)


IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=40, unique=True), st.decimals(0, 1, places=6))
def test_sql_and_python_hold_out_the_same_users(engine: DuckDBEngine, ids: list[str], share: Decimal) -> None:
    engine.register_rows("hostile", [("user_id", "varchar")], [[user] for user in ids])
    rows = engine.fetch(
        "select user_id, substr(md5(concat($salt, ':', user_id)), 1, 8) < $below as held from hostile",
        {"salt": "global:2026", "below": share_bound(share)},
    )
    found = {str(row["user_id"]): bool(row["held"]) for row in rows}
    assert found == {user: held_out("global:2026", user, share) for user in ids}
