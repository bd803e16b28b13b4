"""The checks of datasets: a partition written by hand that breaks a rule fails the check of that rule."""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from marketing_assets.cli.app import app
from marketing_assets.engine.base import Value
from marketing_assets.orchestration.checks.campaign_targets import (
    arms_as_configured,
    consent_respected,
    cost_in_proportion,
    reasons_true,
)
from marketing_assets.orchestration.checks.datasets import check_dataset, dataset_check_specs
from marketing_assets.orchestration.checks.results import checks_not_run, command
from marketing_assets.orchestration.checks.transactions import day_not_empty, rejected_share, volume
from marketing_assets.orchestration.checks.user_features import users_like_the_day_before
from marketing_assets.orchestration.checks.user_patterns import shares_like_the_day_before
from marketing_assets.orchestration.platform import Platform
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import (
    CAMPAIGN_TARGETS,
    CAMPAIGNS,
    DATASETS,
    SEGMENT_SUMMARY,
    TRANSACTIONS,
    USER_FEATURES,
    USER_PATTERNS,
    Column,
    Dataset,
)
from marketing_assets.storage.lake import Lake

D = date(2026, 2, 10)
ALL = sorted(DATASETS.values(), key=lambda dataset: dataset.name)
REFERRING = [dataset for dataset in ALL if dataset.references]
SECRET = "who-nobody-may-see"


def value(column: Column, number: int) -> Value:
    """A value that the column allows, the same for columns of one name in every dataset."""
    if column.one_of:
        return column.one_of[number % len(column.one_of)]
    kinds: dict[str, Value] = {
        "varchar": f"{SECRET}-{column.name}-{number}",
        "integer": number,
        "bigint": number,
        "double": number / 100,
        "boolean": True,
        "date": D,
        "timestamp with time zone": datetime(2026, 2, 10, 12, number, tzinfo=UTC),
        "decimal(9,8)": Decimal(number) / 100,
    }
    return kinds.get(column.type, Decimal(number))


def row(dataset: Dataset, number: int) -> list[Value]:
    return [value(column, number) for column in dataset.columns]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform with a lake and an engine; checks need no database."""
    made = Platform(Settings(_env_file=None, MARKETING_HOME=tmp_path / "home with a blank"), "test")
    made.lake = Lake(made.settings.lake)
    yield made
    made.engine.close()


def put(platform: Platform, dataset: Dataset, rows: Sequence[Sequence[Value]], day: date = D) -> None:
    platform.engine.register_rows("by_hand", [(c.name, c.type) for c in dataset.columns], rows)
    platform.lake.write(platform.engine, dataset, day, "by_hand")


def put_good(platform: Platform, dataset: Dataset, day: date = D) -> None:
    """Two good rows in the dataset and in what it refers to."""
    for each in (dataset, *(DATASETS[reference.dataset] for reference in dataset.references)):
        put(platform, each, [row(each, 1), row(each, 2)], day)


def results(
    platform: Platform, dataset: Dataset, days: Sequence[date] = (D,)
) -> dict[str, dg.AssetCheckResult]:
    found = {str(each.check_name): each for each in check_dataset(platform, dataset, days)}
    assert list(found) == [spec.name for spec in dataset_check_specs(dataset)]
    for each in found.values():
        assert SECRET not in str(each.metadata)
        assert each.severity is dg.AssetCheckSeverity.ERROR
    return found


def metadata(result: dg.AssetCheckResult, name: str) -> object:
    return result.metadata[name].value


def listed(result: dg.AssetCheckResult) -> list[tuple[object, ...]]:
    """The rows that the statements of the shown command find."""
    program, verb, statements = shlex.split(str(metadata(result, "how_to_list")))
    assert (Path(program).name, verb) == ("marketing", "sql")
    assert CliRunner().invoke(app, [verb, statements]).exit_code == 0
    with duckdb.connect() as connection:
        return [found for each in statements.split("; ") for found in connection.execute(each).fetchall()]


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_a_good_partition_passes(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    found = results(platform, dataset)
    for result in found.values():
        assert result.passed
        assert (metadata(result, "observed"), metadata(result, "limit")) == (0, 0)
    described = [name for name, *_ in listed(found.pop("schema"))]
    assert described == [*dataset.column_names, "day"]
    assert [listed(result) for result in found.values()] == [[]] * len(found)


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_two_rows_of_one_key_fail_and_are_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    put(platform, dataset, [row(dataset, 1), row(dataset, 2), row(dataset, 2)])
    found = results(platform, dataset)
    assert {name for name, result in found.items() if not result.passed} == {"unique_key"}
    assert (metadata(found["unique_key"], "observed"), metadata(found["unique_key"], "limit")) == (1, 0)
    key = [value(column, 2) for column in dataset.columns if column.name in dataset.key]
    [offending] = listed(found["unique_key"])
    assert offending[0] == D
    assert sorted(map(str, offending[1:-1])) == sorted(map(str, key))
    assert offending[-1] == 2


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_a_null_where_none_belongs_fails_and_is_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    required = [column for column in dataset.columns if not column.nullable]
    # One row for each column that is never null, with a null there.
    broken = [
        [None if column is missing else value(column, number + 10) for column in dataset.columns]
        for number, missing in enumerate(required)
    ]
    put(platform, dataset, [row(dataset, 1), *broken])
    found = results(platform, dataset)["no_nulls"]
    assert not found.passed
    assert metadata(found, "observed") == len(required)
    missing_in = [
        column.name
        for offending in listed(found)
        for column, each in zip(dataset.columns, offending, strict=False)
        if each is None
    ]
    assert sorted(missing_in) == sorted(column.name for column in required)


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_nulls_where_they_belong_pass(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    sparse = [None if column.nullable else value(column, 2) for column in dataset.columns]
    put(platform, dataset, [row(dataset, 1), sparse])
    assert [result.passed for result in results(platform, dataset).values() if not result.passed] == []


@pytest.mark.parametrize("dataset", REFERRING, ids=lambda dataset: dataset.name)
def test_a_reference_to_nothing_fails_and_is_listed(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    for reference in dataset.references:
        other = DATASETS[reference.dataset]
        put(platform, other, [row(other, 1)])
        found = results(platform, dataset)
        assert {name for name, result in found.items() if not result.passed} == {"references_hold"}
        assert metadata(found["references_hold"], "observed") == 1
        [offending] = listed(found["references_hold"])
        assert offending[: len(dataset.columns)] == tuple(
            each if not isinstance(each, datetime) else offending[place]
            for place, each in enumerate(row(dataset, 2))
        )
        put_good(platform, dataset)


def test_a_row_of_another_day_is_no_reference(platform: Platform) -> None:
    put_good(platform, USER_PATTERNS)
    put_good(platform, USER_PATTERNS, D + timedelta(days=1))
    features = DATASETS["user_features"]
    put(platform, features, [row(features, 1)])
    found = results(platform, USER_PATTERNS, [D, D + timedelta(days=1)])
    assert metadata(found["references_hold"], "observed") == 1
    [offending] = listed(found["references_hold"])
    assert D in offending


def test_of_many_days_the_one_that_breaks_the_rule_is_listed(platform: Platform) -> None:
    days = [D + timedelta(days=number) for number in range(12)]
    dataset = DATASETS["segment_summary"]
    for day in days:
        put(platform, dataset, [row(dataset, 1)], day)
    put(platform, dataset, [row(dataset, 1), row(dataset, 1)], days[3])
    found = results(platform, dataset, days)
    assert metadata(found["unique_key"], "observed") == 1
    assert [offending[0] for offending in listed(found["unique_key"])] == [days[3]]


def test_the_same_key_on_two_days_is_no_repetition(platform: Platform) -> None:
    days = [D, D + timedelta(days=1)]
    for day in days:
        put_good(platform, CAMPAIGN_TARGETS, day)
    assert all(result.passed for result in results(platform, CAMPAIGN_TARGETS, days).values())


@pytest.mark.parametrize("dataset", ALL, ids=lambda dataset: dataset.name)
def test_an_empty_partition_passes(platform: Platform, dataset: Dataset) -> None:
    put_good(platform, dataset)
    put(platform, dataset, [])
    assert all(result.passed for result in results(platform, dataset).values())


def test_a_step_that_wrote_nothing_has_a_result_for_each_check() -> None:
    found = list(checks_not_run(dataset_check_specs(CAMPAIGN_TARGETS), "nothing was written"))
    assert [each.check_name for each in found] == [
        "schema",
        "unique_key",
        "no_nulls",
        "in_range",
        "references_hold",
    ]
    assert all(each.passed for each in found)
    assert {metadata(each, "note") for each in found} == {"nothing was written"}


BOUNDED = [
    (dataset, column)
    for dataset in ALL
    for column in dataset.columns
    if column.at_least is not None or column.at_most is not None or column.one_of
]


@pytest.mark.parametrize(
    ("dataset", "column"), BOUNDED, ids=[f"{dataset.name}.{column.name}" for dataset, column in BOUNDED]
)
def test_a_value_that_is_not_allowed_fails_and_is_listed(
    platform: Platform, dataset: Dataset, column: Column
) -> None:
    put_good(platform, dataset)
    wrong: list[Value] = []
    if column.at_least is not None:
        wrong.append(column.at_least - 1)
    if column.at_most is not None:
        wrong.append(column.at_most + 1)
    if column.one_of:
        wrong.append("something else")
    for each in wrong:
        broken = [
            each if name == column.name else value(other, 3)
            for name, other in zip(dataset.column_names, dataset.columns, strict=True)
        ]
        put(platform, dataset, [row(dataset, 1), broken])
        found = results(platform, dataset)["in_range"]
        assert not found.passed
        assert (metadata(found, "observed"), metadata(found, "limit")) == (1, 0)
        [offending] = listed(found)
        shown = offending[dataset.column_names.index(column.name)]
        assert shown == each if isinstance(each, str) else float(str(shown)) == each


@pytest.mark.parametrize("change", ["type", "missing", "more"])
def test_a_file_of_other_columns_fails_says_which_and_stops_the_rest(platform: Platform, change: str) -> None:
    put_good(platform, USER_PATTERNS)
    path = platform.lake.path(USER_PATTERNS, D)
    selected, said = {
        "type": ("* replace (cast(rank as bigint) as rank)", f"{D} rank: bigint, not integer"),
        "missing": ("* exclude (rank)", f"{D} rank: missing, not integer"),
        "more": ("*, 1 as extra", f"{D} extra: integer, not no such column"),
    }[change]
    with duckdb.connect() as connection:
        other = path.with_name("other")
        connection.execute(
            f"copy (select {selected} from read_parquet('{path}', hive_partitioning = false)) to '{other}' "
            "(format parquet)"
        )
    other.replace(path)
    found = results(platform, USER_PATTERNS)
    assert [name for name, result in found.items() if result.passed] == []
    assert metadata(found["schema"], "observed") == 1
    assert metadata(found["schema"], "differences") == said
    described = {str(name): str(kind) for name, kind, *_ in listed(found["schema"])}
    assert (described.get("rank"), "extra" in described) == {
        "type": ("BIGINT", False),
        "missing": (None, False),
        "more": ("INTEGER", True),
    }[change]
    assert metadata(found["no_nulls"], "note") == "not run: the columns differ, see schema"


def test_the_shown_command_works_when_it_is_pasted(platform: Platform) -> None:
    put(platform, USER_FEATURES, [row(USER_FEATURES, 1)] * 2)
    shown = str(metadata(results(platform, USER_FEATURES)["unique_key"], "how_to_list"))
    done = subprocess.run(shown, shell=True, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert f"{SECRET}-user_id-1" in done.stdout
    assert "rows" in done.stdout


def test_what_a_shell_would_act_on_is_quoted(tmp_path: Path) -> None:
    from sqlglot import exp

    file = tmp_path / "x.csv"
    file.write_text("a\n1\n", encoding="utf-8")
    awkward = "say \"$HOME\" `id` 'quoted' \\ !"
    query = exp.select(exp.alias_(exp.Literal.string(awkward), "awkward")).from_("checked")
    shown = command([query], {"checked": file})
    done = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert awkward in done.stdout


def test_days_without_a_row_are_a_warning_only(platform: Platform) -> None:
    result = day_not_empty(platform, [])
    assert result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    share = rejected_share(platform, [], None)
    assert share.passed
    assert (metadata(share, "observed"), metadata(share, "limit")) == (0.0, 0.05)


def put_rows(platform: Platform, dataset: Dataset, rows: int, day: date) -> None:
    put(platform, dataset, [row(dataset, number) for number in range(1, rows + 1)], day)


@pytest.mark.parametrize(
    ("rows", "passed", "observed"), [(8, True, 0.2), (15, True, 0.5), (16, False, 0.6), (4, False, 0.6)]
)
def test_a_day_far_from_its_weekday_is_a_warning(
    platform: Platform, rows: int, passed: bool, observed: float
) -> None:
    for weeks, earlier in ((4, 2), (3, 10), (2, 10), (1, 30)):  # median 10
        put_rows(platform, TRANSACTIONS, earlier, D - timedelta(weeks=weeks))
    put_rows(platform, TRANSACTIONS, 50, D - timedelta(days=1))
    put_rows(platform, TRANSACTIONS, rows, D)
    result = volume(platform, [D])
    assert result.passed == passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert metadata(result, "observed") == pytest.approx(observed)
    assert (metadata(result, "limit"), metadata(result, "rows"), metadata(result, "expected")) == (
        0.5,
        rows,
        10,
    )
    assert listed(result) == [
        (D - timedelta(weeks=4), 2),
        (D - timedelta(weeks=3), 10),
        (D - timedelta(weeks=2), 10),
        (D - timedelta(weeks=1), 30),
        (D, rows),
    ]


def test_of_a_range_the_days_that_jump_are_named(platform: Platform) -> None:
    days = [D + timedelta(days=number) for number in range(22)]
    for day in days:
        put_rows(platform, TRANSACTIONS, 1 if day == days[20] else 6, day)
    result = volume(platform, days)
    assert not result.passed
    assert metadata(result, "failing_days") == str(days[20])
    assert metadata(result, "day") == str(days[20])


def test_with_one_week_of_history_volume_has_nothing_to_compare_with(platform: Platform) -> None:
    put_rows(platform, TRANSACTIONS, 9, D - timedelta(weeks=1))
    put_rows(platform, TRANSACTIONS, 1, D)
    result = volume(platform, [D])
    assert result.passed
    assert "nothing to compare with" in str(metadata(result, "note"))


@pytest.mark.parametrize(("users", "passed"), [(18, True), (22, True), (17, False), (23, False)])
def test_a_jump_of_users_is_a_warning_with_the_numbers(platform: Platform, users: int, passed: bool) -> None:
    put_rows(platform, USER_FEATURES, 20, D - timedelta(days=1))
    put_rows(platform, USER_FEATURES, users, D)
    result = users_like_the_day_before(platform, [D])
    assert result.passed == passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert metadata(result, "observed") == pytest.approx(abs(users - 20) / 20)
    assert (metadata(result, "limit"), metadata(result, "users_before")) == (0.1, 20)
    assert listed(result) == [(D - timedelta(days=1), 20), (D, users)]


def test_the_first_day_of_a_lake_has_nothing_to_compare_with(platform: Platform) -> None:
    put_rows(platform, USER_FEATURES, 3, D)
    put(platform, SEGMENT_SUMMARY, [row(SEGMENT_SUMMARY, 1)])
    for result in (users_like_the_day_before(platform, [D]), shares_like_the_day_before(platform, [D])):
        assert result.passed
        assert metadata(result, "note") == f"no partition of {D - timedelta(days=1)}: nothing to compare with"


def put_shares(platform: Platform, day: date, **shares: float) -> None:
    rows: list[list[Value]] = [
        [pattern, rank, 10, 5, share, Decimal(1), Decimal(1)]
        for rank, (pattern, share) in enumerate(shares.items(), start=1)
    ]
    put(platform, SEGMENT_SUMMARY, rows, day)


@pytest.mark.parametrize(("share", "passed"), [(0.15, True), (0.151, False), (0.05, True), (0.04, False)])
def test_a_jump_of_a_patterns_share_is_a_warning_with_the_numbers(
    platform: Platform, share: float, passed: bool
) -> None:
    put_shares(platform, D - timedelta(days=1), inactive=0.1, general=1.0)
    put_shares(platform, D, inactive=share, general=1.0, new_in_the_policy=0.9)
    result = shares_like_the_day_before(platform, [D])
    assert result.passed == passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert metadata(result, "observed") == pytest.approx(abs(share - 0.1))
    table = str(metadata(result, "shares"))
    assert f"| inactive | 10.0% | {share:.1%} |" in table
    assert "| new_in_the_policy |  | 90.0% |" in table
    assert [found[1] for found in listed(result)] == [
        "inactive",
        "general",
        "inactive",
        "general",
        "new_in_the_policy",
    ]


def row_with(dataset: Dataset, **given: Value) -> list[Value]:
    """A good row with some values of one's own."""
    return [given.get(column.name, value(column, 1)) for column in dataset.columns]


def put_targets(platform: Platform, targets: Sequence[tuple[str, str, str, str]], share: str = "0.1") -> None:
    """Targets as (campaign, pattern, arm, reason), each a user of its own, of campaigns with that share."""
    patterns = {campaign: pattern for campaign, pattern, _, _ in targets}
    campaigns = [
        row_with(
            CAMPAIGNS,
            campaign_id=name,
            target_pattern=pattern,
            holdout_share=Decimal(share),
            template_settings=None,
        )
        for name, pattern in patterns.items()
    ]
    users = [f"{SECRET}-{number}" for number in range(len(targets))]
    rows = [
        row_with(CAMPAIGN_TARGETS, campaign_id=campaign, user_id=user, arm=arm, reason=reason)
        for user, (campaign, _, arm, reason) in zip(users, targets, strict=True)
    ]
    put(platform, CAMPAIGNS, campaigns)
    put(platform, CAMPAIGN_TARGETS, rows)
    put(platform, USER_FEATURES, [row_with(USER_FEATURES, user_id=user) for user in users])


TRUE = [
    ("vip", "high_spender", {"spend": 5000}),
    ("rising", "seasonal", {"spend_trend": 0.5}),
    ("local", "location_cluster", {"locations": 2}),
    ("focus", "general", {}),
]
UNTRUE = [
    ("vip", "high_spender", {"spend": 4999.99}),
    ("rising", "seasonal", {"spend_trend": None}),
    ("local", "location_cluster", {"locations": 3}),
    ("local", "location_cluster", {}),
    ("gone", "no_such_pattern", {"spend": 9000}),
]


def test_reasons_that_satisfy_the_policy_pass(platform: Platform) -> None:
    put_targets(platform, [(c, p, "treatment", json.dumps(reason)) for c, p, reason in TRUE])
    result = reasons_true(platform, D)
    assert result.passed
    assert (metadata(result, "observed"), metadata(result, "limit"), listed(result)) == (0, 0, [])


def test_reasons_that_are_not_true_fail_and_are_listed(platform: Platform) -> None:
    put_targets(
        platform,
        [(c, p, "control", json.dumps(reason)) for c, p, reason in [*TRUE, *UNTRUE]]
        + [("vip", "high_spender", "treatment", "no JSON at all")],
    )
    result = reasons_true(platform, D)
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert metadata(result, "observed") == len(UNTRUE) + 1
    assert SECRET not in str(result.metadata)
    reasons = [found[4] for found in listed(result)]
    assert sorted(map(str, reasons)) == sorted(["no JSON at all", *(json.dumps(each) for *_, each in UNTRUE)])


def test_reasons_of_what_was_published_before_stand(platform: Platform) -> None:
    put_targets(platform, [(c, p, "control", json.dumps(reason)) for c, p, reason in UNTRUE])
    platform.lake.register(platform.engine, "kept_targets", CAMPAIGN_TARGETS, [D])
    assert reasons_true(platform, D, exempt="kept_targets").passed


@pytest.mark.parametrize(
    ("treatment", "control", "share", "passed"),
    [
        (900, 100, "0.1", True),
        (855, 145, "0.1", False),
        (862, 138, "0.1", True),  # 4.0 by the normal curve, less by the tail
        (940, 60, "0.1", False),
        (0, 1, "0.05", True),  # one of one is no surprise, though 4.4 by the normal curve
        (0, 4, "0.05", False),
        (10, 0, "0", True),
        (9, 1, "0", False),
    ],
)
def test_arms_that_no_fair_draw_would_give_are_a_warning(
    platform: Platform, treatment: int, control: int, share: str, passed: bool
) -> None:
    arms = ["treatment"] * treatment + ["control"] * control
    put_targets(platform, [("vip", "high_spender", arm, "{}") for arm in arms], share)
    result = arms_as_configured(platform, D)
    assert result.passed == passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert metadata(result, "limit") == 4.0
    assert f"| vip | {treatment + control} | {control} |" in str(metadata(result, "arms"))
    assert [found[:3] for found in listed(result)] == [("vip", treatment + control, control)]


def test_a_night_without_targets_has_fair_arms_and_true_reasons(platform: Platform) -> None:
    put_targets(platform, [])
    assert arms_as_configured(platform, D).passed
    assert reasons_true(platform, D).passed


def put_costs(platform: Platform, targets: Sequence[tuple[str, str, str, str]]) -> None:
    """Targets as (campaign, user, expected cost, spend of the user)."""
    rows = [
        row_with(
            CAMPAIGN_TARGETS,
            campaign_id=name,
            user_id=user,
            expected_cost=Decimal(cost),
            spend=Decimal(spend),
        )
        for name, user, cost, spend in targets
    ]
    put(platform, CAMPAIGN_TARGETS, rows)
    put(platform, CAMPAIGNS, [])
    put(platform, USER_FEATURES, [])


@pytest.mark.parametrize(
    ("cost", "spend", "observed", "passed"),
    [
        ("2.00", "100", 0.05, True),
        ("2.01", "100", 0.0501, False),
        ("0.00", "0", 0.0, True),
        ("0.01", "0", 1.0, False),
        ("0.01", "-5", 1.0, False),
    ],
)
def test_a_night_that_costs_more_than_its_share_of_the_spend_is_refused(
    platform: Platform, cost: str, spend: str, observed: float, passed: bool
) -> None:
    put_costs(platform, [("a", "u1", cost, "9"), ("b", "u1", "3.00" if cost[0] == "2" else "0.00", "9")])
    result = cost_in_proportion(platform, D, Decimal(spend))
    assert (result.passed, metadata(result, "observed"), metadata(result, "limit")) == (
        passed,
        observed,
        0.05,
    )
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert {(found[0], found[1]) for found in listed(result)} == {("a", 1), ("b", 1)}


def test_what_was_published_before_is_not_charged_again(platform: Platform) -> None:
    put_costs(platform, [("a", "u1", "90.00", "100"), ("a", "u2", "1.00", "100")])
    keys = [("campaign_id", "varchar"), ("user_id", "varchar")]
    platform.engine.register_rows("kept_targets", keys, [["a", "u1"]])
    assert not cost_in_proportion(platform, D, Decimal(100)).passed
    assert cost_in_proportion(platform, D, Decimal(100), exempt="kept_targets").passed


def test_a_new_target_who_had_opted_out_stops_the_night(platform: Platform) -> None:
    put_costs(platform, [("a", SECRET, "0.00", "1"), ("b", SECRET, "0.00", "1"), ("a", "u2", "0.00", "1")])
    platform.engine.register_rows("opted_out", [("user_id", "varchar")], [[SECRET]])
    result = consent_respected(platform, D)
    assert (result.passed, metadata(result, "observed"), metadata(result, "limit")) == (False, 2, 0)
    assert SECRET not in str(result.metadata)
    keys = [("campaign_id", "varchar"), ("user_id", "varchar")]
    platform.engine.register_rows("kept_targets", keys, [["a", SECRET], ["b", SECRET]])
    assert consent_respected(platform, D, exempt="kept_targets").passed
