"""The steps of targeting against a slow and obvious reference, and the logs made from them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_assets.domain.assignment import bucket_digits, held_out
from marketing_assets.domain.targeting import OpenCampaign
from marketing_assets.engine.base import Row, Value, sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.orchestration.targeting import GlobalHoldout, decide
from marketing_assets.policy.load import load_policy

BEGINS, ENDS = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
PATTERNS = ("p", "q", "r")
USERS = ("ann", "böb", "c:d", "e'f", '"', "")
SPEND = {user: Decimal(10 * (index // 2)) for index, user in enumerate(USERS)}
ORDER = {user: Decimal("12.34") + index for index, user in enumerate(USERS)}
NOWHERE = {"c:d"}
SHARES = {"b-2026": Decimal("0.5"), "a-2026": Decimal(0), "c-2026": Decimal(1), "d-2026": Decimal("0.1")}


def made(name: str, place: int, pattern: str, **changes: object) -> OpenCampaign:
    below = {Decimal(0): "", Decimal(1): "g", Decimal("0.5"): "80000000", Decimal("0.1"): "19999999"}
    plain = OpenCampaign(
        campaign_id=name,
        campaign_version=1,
        target_pattern=pattern,
        place=place,
        round=1,
        control_below=below[SHARES[name]],
        offer_at=None,
        cooldown_days=30,
        days_left=30,
        days_needed=7,
        reward_fixed=Decimal(0),
        reward_rate=Decimal("0.15"),
        reward_cap=Decimal(2),
        cost_share=Decimal("0.045"),
        budget=None,
        committed=None,
        assigned_on=date(2026, 1, 2),
        valid_from=BEGINS,
        valid_until=ENDS,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


CAMPAIGNS = (
    made("a-2026", 1, "q", offer_at="top_location"),
    made("b-2026", 2, "p"),
    made("c-2026", 3, "p", offer_at="top_category"),
    made("d-2026", 4, "r", days_left=6),
)


@dataclass
class Night:
    """What a night finds; pairs are of campaign and user."""

    has: set[tuple[str, str]]
    stands: set[tuple[str, str]]
    cooling: set[tuple[str, str]]
    opted_out: set[str]
    holdout: Decimal
    slots: int
    budgets: dict[str, Decimal]

    @property
    def campaigns(self) -> list[OpenCampaign]:
        found, number = [], 1
        for each in CAMPAIGNS:
            budget = self.budgets.get(each.campaign_id)
            found.append(replace(each, round=number, budget=budget, committed=budget and Decimal("0.05")))
            number += budget is not None
        return found


pairs = st.sets(st.tuples(st.sampled_from(sorted(SHARES)), st.sampled_from(USERS)))
nights = st.builds(
    Night,
    has=st.sets(st.tuples(st.sampled_from(USERS), st.sampled_from(PATTERNS)), min_size=3),
    stands=pairs,
    cooling=pairs,
    opted_out=st.sets(st.sampled_from(USERS), max_size=2),
    holdout=st.sampled_from([Decimal(0), Decimal("0.05"), Decimal("0.4"), Decimal(1)]),
    slots=st.integers(0, 4),
    budgets=st.dictionaries(
        st.sampled_from(sorted(SHARES)), st.decimals("0.06", "0.5", places=2, allow_nan=False), max_size=3
    ),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    made_engine = DuckDBEngine(
        memory_limit="256MiB", threads=2, temp_directory=tmp_path_factory.mktemp("spill")
    )
    features = [
        ("user_id", "varchar"),
        ("spend", "decimal(14,2)"),
        ("average_order", "decimal(14,2)"),
        ("top_location", "varchar"),
        ("top_category", "varchar"),
    ]
    made_engine.register_rows(
        "user_features",
        features,
        [
            [user, SPEND[user], ORDER[user], None if user in NOWHERE else f"at {user}", f"in {user}"]
            for user in USERS
        ],
    )
    yield made_engine
    made_engine.close()


def decided(engine: DuckDBEngine, night: Night) -> list[Row]:
    keys = [("campaign_id", "varchar"), ("user_id", "varchar")]
    patterns = [("user_id", "varchar"), ("pattern", "varchar"), ("reason", "varchar")]
    engine.register_rows("qualified_users", patterns, [[*row, "{}"] for row in sorted(night.has)])
    engine.register_rows("standing_targets", keys, [list(row) for row in sorted(night.stands)])
    cooling = [*keys, ("earlier_campaign", "varchar"), ("ended_on", "date")]
    rows: list[list[Value]] = [[*row, "old-2025", date(2025, 12, 31)] for row in sorted(night.cooling)]
    engine.register_rows("cooling_users", cooling, rows)
    engine.register_rows("opted_out", keys[1:], [[user] for user in sorted(night.opted_out)])
    policy = load_policy(None)
    limits = policy.limits.model_copy(update={"max_active_campaigns": night.slots})
    holdout = GlobalHoldout("global:2026", night.holdout)
    decide(engine, night.campaigns, holdout, policy.model_copy(update={"limits": limits}))
    return engine.fetch(
        "select n.*, c.campaign_id from night_decisions n join open_campaigns c on c.place = n.place"
    )


def cost(user: str) -> Decimal:
    reward = min(Decimal(2), (Decimal("0.15") * ORDER[user]).quantize(Decimal("0.01"), "ROUND_HALF_UP"))
    return reward * Decimal("0.045")


def expected(night: Night) -> dict[tuple[str, str], str]:
    """Campaign after campaign, user after user, step after step."""
    outcomes = {}
    taken = {user: sum(target == user for _, target in night.stands) for user in USERS}
    for campaign in night.campaigns:
        name, spent = campaign.campaign_id, Decimal("0.05")
        stopped = False
        for user in sorted(USERS, key=lambda each: (-SPEND[each], each.encode())):
            pair = (name, user)
            if (user, campaign.target_pattern) not in night.has or pair in night.stands:
                continue
            if campaign.offer_at == "top_location" and user in NOWHERE:
                outcomes[pair] = "no_context"
            elif user in night.opted_out:
                outcomes[pair] = "opted_out"
            elif held_out("global:2026", user, night.holdout):
                outcomes[pair] = "global_holdout"
            elif pair in night.cooling:
                outcomes[pair] = "cooling_off"
            elif campaign.days_left < campaign.days_needed:
                outcomes[pair] = "too_late"
            elif taken[user] >= night.slots:
                outcomes[pair] = "limit"
            else:
                spent += cost(user)
                stopped = stopped or (campaign.budget is not None and spent > campaign.budget)
                if stopped:
                    outcomes[pair] = "budget"
                    continue
                taken[user] += 1
                outcomes[pair] = "control" if held_out(name, user, SHARES[name]) else "treatment"
    return outcomes


@settings(max_examples=150, deadline=None)
@given(nights)
def test_every_pair_is_decided_as_the_reference_says(engine: DuckDBEngine, night: Night) -> None:
    rows = decided(engine, night)
    found = {(str(row["campaign_id"]), str(row["user_id"])): row["outcome"] for row in rows}
    assert found == expected(night)
    assert len(rows) == len(found)
    assert all(isinstance(json.loads(str(row["detail"])), dict) for row in rows)


EVERYBODY = Night(
    has={(user, pattern) for user in USERS for pattern in PATTERNS},
    stands=set(),
    cooling=set(),
    opted_out=set(),
    holdout=Decimal(0),
    slots=4,
    budgets={},
)


def by_pair(rows: list[Row]) -> dict[tuple[str, str], Row]:
    return {(str(row["campaign_id"]), str(row["user_id"])): row for row in rows}


def test_a_decision_keeps_its_digits_cost_and_what_the_offer_is_filled_in_with(engine: DuckDBEngine) -> None:
    found = by_pair(decided(engine, EVERYBODY))
    row = found["a-2026", "böb"]
    assert row["bucket_digits"] == bucket_digits("a-2026", "böb")
    assert (row["location"], row["category"]) == ("at böb", None)
    assert found["c-2026", "böb"]["category"] == "in böb"
    assert (row["spend"], row["expected_cost"]) == (SPEND["böb"], Decimal("0.090000"))
    assert found["a-2026", "ann"]["expected_cost"] == Decimal("1.85") * Decimal("0.045")


def detail(row: Row) -> dict[str, object]:
    read: dict[str, object] = json.loads(str(row["detail"]))
    return read


def test_a_decision_says_what_the_step_that_made_it_read(engine: DuckDBEngine) -> None:
    night = replace(EVERYBODY, cooling={("b-2026", "ann")}, slots=1, opted_out={"böb"})
    found = by_pair(decided(engine, night))
    assert detail(found["a-2026", "c:d"]) == {"offer_at": "top_location"}
    assert detail(found["a-2026", "böb"]) == {}
    assert detail(found["d-2026", "ann"]) == {"days_left": 6, "days_needed": 7}
    assert detail(found["b-2026", "ann"]) == {
        "earlier_campaign": "old-2025",
        "ended_on": "2025-12-31",
        "cooldown_days": 30,
    }
    assert detail(found["a-2026", "ann"]) == {"below": "", "slot": 1}
    assert detail(found["c-2026", "ann"]) == {"slots": 1}
    held = by_pair(decided(engine, replace(EVERYBODY, holdout=Decimal("0.4"))))
    user = next(user for user in USERS if held_out("global:2026", user, Decimal("0.4")))
    assert detail(held["b-2026", user]) == {
        "salt": "global:2026",
        "digits": bucket_digits("global:2026", user),
        "below": "66666666",
    }


def test_a_budget_goes_to_those_who_spend_most_and_ends_at_the_first_whom_it_cannot_pay(
    engine: DuckDBEngine,
) -> None:
    found = by_pair(decided(engine, replace(EVERYBODY, budgets={"b-2026": Decimal("0.30")})))
    ordered = sorted(USERS, key=lambda user: (-SPEND[user], user.encode()))
    paid = [user for user in ordered if found["b-2026", user]["outcome"] in ("treatment", "control")]
    assert paid == ordered[:2]  # 0.05 committed and 0.09 each
    assert detail(found["b-2026", ordered[2]]) == {"budget": 0.3, "committed": 0.32, "cost": 0.09}


def test_a_refusal_is_logged_when_it_differs_from_the_last(engine: DuckDBEngine) -> None:
    decided(engine, replace(EVERYBODY, has={("ann", "p"), ("ann", "q"), ("böb", "p")}, slots=1))
    log = [
        ("campaign_id", "varchar"),
        ("user_id", "varchar"),
        ("outcome", "varchar"),
        ("reason", "varchar"),
        ("detail", "varchar"),
        ("bucket_digits", "varchar"),
        ("policy_version", "varchar"),
        ("day", "date"),
    ]
    earlier: list[list[Value]] = [
        ["b-2026", "ann", "opted_out", "{}", "{}", None, "v0", "2025-12-30"],
        ["b-2026", "ann", "limit", "{}", "{}", None, "v0", "2025-12-31"],
        ["c-2026", "ann", "limit", "{}", "{}", None, "v0", "2025-12-30"],
        ["c-2026", "ann", "opted_out", "{}", "{}", None, "v0", "2025-12-31"],
    ]
    engine.register_rows("earlier_decisions", log, earlier)
    engine.register_rows("kept_decisions", log, [])
    logged = engine.fetch(sql("targeting_decisions"), {"policy_version": "v1"})
    assert {(row["campaign_id"], row["user_id"], row["outcome"]) for row in logged} == {
        ("a-2026", "ann", "treatment"),
        ("c-2026", "ann", "limit"),
        ("b-2026", "böb", "control" if held_out("b-2026", "böb", Decimal("0.5")) else "treatment"),
        ("c-2026", "böb", "limit"),
    }
