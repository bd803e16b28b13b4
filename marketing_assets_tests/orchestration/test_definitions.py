"""The code location: it loads by itself, opens nothing, and every asset says what it is."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import CronFreshnessPolicy

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.metadata import column_lineage
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import DATASETS

REPOSITORY = Path(__file__).parent.parent.parent

GRAPH = {
    "source_transactions": set(),
    "transactions": {"source_transactions"},
    "rejected_transactions": {"source_transactions"},
    "user_features": {"transactions"},
    "user_patterns": {"user_features"},
    "segment_summary": {"user_features"},
    "settled_rewards": {"transactions"},
    "campaigns": {"user_features", "user_patterns", "segment_summary", "settled_rewards"},
    "campaign_targets": {"campaigns", "user_features", "user_patterns"},
    "targeting_decisions": {"campaigns", "user_features", "user_patterns"},
    "published_night": {
        "campaign_targets",
        "campaigns",
        "segment_summary",
        "targeting_decisions",
        "user_features",
        "user_patterns",
    },
    "marketing/marketing_campaigns": {"published_night"},
    "marketing/campaign_targets": {"published_night"},
    "marketing/user_segments": {"published_night"},
    "marketing/segment_summary": {"published_night"},
    "marketing/published_nights": {"published_night"},
    "expired_campaigns": set(),
    "archived_targets": {"expired_campaigns"},
    "archived_events": {"expired_campaigns"},
    "archived_rewards": {"expired_campaigns"},
    "lake_retention": set(),
    "forgotten_answers": set(),
    "vacuumed_tables": {"archived_targets", "archived_events", "archived_rewards", "forgotten_answers"},
    "dagster_storage": set(),
}

OUTSIDE = {name for name in GRAPH if name == "source_transactions" or name.startswith("marketing/")}

GROUPS = {
    "source_transactions": "ingest",
    "transactions": "ingest",
    "rejected_transactions": "ingest",
    "user_features": "behaviour",
    "user_patterns": "behaviour",
    "segment_summary": "behaviour",
    "settled_rewards": "measurement",
    "campaigns": "campaigns",
    "campaign_targets": "targeting",
    "targeting_decisions": "targeting",
    "published_night": "publishing",
    **{name: "publishing" for name in OUTSIDE if name.startswith("marketing/")},
    "expired_campaigns": "cleanup",
    "archived_targets": "cleanup",
    "archived_events": "cleanup",
    "archived_rewards": "cleanup",
    "forgotten_answers": "cleanup",
    "lake_retention": "cleanup",
    "vacuumed_tables": "cleanup",
    "dagster_storage": "cleanup",
}

KINDS = {
    **{name: {"duckdb", "parquet"} for name in DATASETS},
    **{name: {"postgres"} for name in OUTSIDE},
    "source_transactions": {"parquet"},
    "published_night": {"postgres"},
    "expired_campaigns": {"postgres"},
    "lake_retention": {"parquet"},
    "forgotten_answers": {"postgres"},
    "vacuumed_tables": {"postgres"},
    "dagster_storage": {"postgres"},
}

FRESH = {
    "user_features",
    "user_patterns",
    "segment_summary",
    "campaigns",
    "campaign_targets",
    "published_night",
}
"""What must be made every night: published_night, and what it publishes."""

BLOCKING = {
    "transactions": {"schema", "unique_key", "no_nulls", "in_range", "rejected_share"},
    "rejected_transactions": {"schema", "unique_key", "no_nulls", "in_range"},
    "user_features": {"schema", "unique_key", "no_nulls", "in_range"},
    "user_patterns": {"schema", "unique_key", "no_nulls", "in_range", "references_hold"},
    "segment_summary": {"schema", "unique_key", "no_nulls", "in_range"},
    "settled_rewards": {"schema", "unique_key", "no_nulls", "in_range"},
    "campaigns": {"schema", "unique_key", "no_nulls", "in_range"},
    "campaign_targets": {
        "schema",
        "unique_key",
        "no_nulls",
        "in_range",
        "references_hold",
        "reasons_true",
        "consent_respected",
        "cost_in_proportion",
    },
    "targeting_decisions": {"schema", "unique_key", "no_nulls", "in_range", "references_hold"},
    "archived_targets": {"schema", "unique_key", "no_nulls"},
    "archived_events": {"schema", "unique_key", "no_nulls"},
    "archived_rewards": {"schema", "unique_key", "no_nulls"},
}

WARNING = {
    "transactions": {"day_not_empty", "volume"},
    "user_features": {"users_like_the_day_before"},
    "segment_summary": {"shares_like_the_day_before"},
    "campaign_targets": {"arms_as_configured"},
}


def definitions(home: Path, **values: object) -> dg.Definitions:
    given: dict[str, object] = {"MARKETING_HOME": home, "MARKETING_SOURCE": "files", **values}
    return build_definitions(Settings(_env_file=None, **given))  # type: ignore[arg-type]


@pytest.fixture
def graph(tmp_path: Path) -> AssetGraph:
    return definitions(tmp_path).resolve_asset_graph()


def test_the_assets_and_what_each_is_made_from(graph: AssetGraph) -> None:
    found = {
        node.key.to_user_string(): {parent.to_user_string() for parent in node.parent_keys}
        for node in graph.asset_nodes
    }
    assert found == GRAPH


def test_every_asset_says_what_it_is_who_owns_it_and_how_it_is_made(graph: AssetGraph) -> None:
    for node in graph.asset_nodes:
        name = node.key.to_user_string()
        assert node.description, name
        assert node.group_name == GROUPS[name]
        assert node.owners == ["team:data-platform"], name
        assert node.kinds == KINDS[name]
        for asked in ("Grain: ", "Source: ", "Rule: ", "Read by: "):
            assert f"\n\n{asked}" in node.description, (name, asked)
        assert node.is_materializable == (name not in OUTSIDE)
        if node.is_materializable:
            daily = isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
            assert daily == (GROUPS[name] != "cleanup"), name


def test_every_lake_asset_has_its_columns_each_with_a_meaning(graph: AssetGraph) -> None:
    for name, dataset in DATASETS.items():
        schema = graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert [(c.name, c.type) for c in schema.columns] == [(c.name, c.type) for c in dataset.columns]
        assert [c.name for c in schema.columns if not c.description] == []
        nullable = {c.name for c in schema.columns if c.constraints.nullable}
        assert nullable == {c.name for c in dataset.columns if c.nullable}
        assert ("pii" in graph.get(dg.AssetKey(name)).tags) == any(c.personal for c in dataset.columns)


def test_the_checks_of_each_asset_and_which_of_them_stop_the_night(graph: AssetGraph) -> None:
    found: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
    for key in graph.asset_check_keys:
        node = graph.get(key)
        assert node.description, key
        found[node.blocking].setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert found == {True: BLOCKING, False: WARNING}


def test_what_the_app_reads_is_due_every_night_some_hours_after_it_began(tmp_path: Path) -> None:
    made = definitions(
        tmp_path,
        MARKETING_TIMEZONE="Europe/Paris",
        MARKETING_ANALYSIS_HOUR=2,
        MARKETING_ANALYSIS_MINUTE=30,
        MARKETING_DEADLINE_HOURS=4,
    ).resolve_asset_graph()
    policies = {node.key.to_user_string(): node.freshness_policy for node in made.asset_nodes}
    assert {name for name, policy in policies.items() if policy is not None} == FRESH
    for name in FRESH:
        policy = policies[name]
        assert isinstance(policy, CronFreshnessPolicy)
        assert (policy.deadline_cron, policy.timezone) == ("30 6 * * *", "Europe/Paris")
        assert policy.lower_bound_delta == timedelta(hours=6, minutes=30)


def test_a_night_that_begins_before_midnight_is_due_the_day_after(tmp_path: Path) -> None:
    made = definitions(tmp_path, MARKETING_ANALYSIS_HOUR=23).resolve_asset_graph()
    policy = made.get(dg.AssetKey("published_night")).freshness_policy
    assert isinstance(policy, CronFreshnessPolicy)
    assert (policy.deadline_cron, policy.lower_bound_delta) == ("0 2 * * *", timedelta(days=1))


def test_no_step_has_a_retry_policy_which_would_try_a_run_again_that_somebody_ended(tmp_path: Path) -> None:
    nightly = definitions(tmp_path).resolve_job_def("nightly_marketing")
    policies = [op.retry_policy for op in nightly.graph.node_defs if isinstance(op, dg.OpDefinition)]
    assert policies == [None] * 7


def test_columns_say_what_they_are_made_of_and_it_exists() -> None:
    known = {f"{dataset.name}.{column.name}" for dataset in DATASETS.values() for column in dataset.columns}
    for dataset in DATASETS.values():
        lineage = column_lineage(dataset).deps_by_column
        origins = {
            f"{dep.asset_key.to_user_string()}.{dep.column_name}" for e in lineage.values() for dep in e
        }
        assert origins <= known
        made_of = {name for name in GRAPH[dataset.name] if name in DATASETS}
        # A summary is made of patterns too, by the step that makes both.
        assert {origin.partition(".")[0] for origin in origins} <= made_of | {"user_patterns"}
    spend = column_lineage(DATASETS["user_features"]).deps_by_column["spend"]
    assert list(spend) == [dg.TableColumnDep(dg.AssetKey("transactions"), "amount")]


def test_money_instants_and_shares_say_their_unit() -> None:
    for dataset in DATASETS.values():
        for column in dataset.columns:
            where = f"{dataset.name}.{column.name}: {column.description}"
            if column.type.startswith("decimal") and column.name != "holdout_share":
                assert "money" in where
            if column.type.startswith("timestamp"):
                assert "UTC" in where
            if "share" in column.name:
                assert "0 to 1" in where


def test_the_jobs_and_what_each_makes(tmp_path: Path) -> None:
    made = definitions(tmp_path)
    selected = {
        job.name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
        for job in made.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    ingest = {"transactions", "rejected_transactions"}
    behaviour = {"user_features", "user_patterns", "segment_summary"}
    cleanup = {name for name, group in GROUPS.items() if group == "cleanup"}
    assert selected == {
        "ingest_range": ingest,
        "behaviour_range": ingest | behaviour,
        "nightly_marketing": set(GRAPH) - OUTSIDE - cleanup,
        "campaign_cleanup": cleanup,
        "policy_plan": set(),
        "target_campaign": set(),
        "export": set(),
        "erasure": set(),
    }
    for job in made.resolve_all_job_defs():
        if not job.name.startswith("__"):
            assert {"trigger": "ui", "source": "files"}.items() <= job.tags.items(), job.name


def test_the_sensors_run_unless_somebody_stops_them(tmp_path: Path) -> None:
    sensors = {sensor.name: sensor for sensor in definitions(tmp_path).sensors or []}
    assert {"requests", "run_failure", "failing_warnings"} <= set(sensors)
    for sensor in sensors.values():
        assert isinstance(sensor, dg.SensorDefinition)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.description
    # Requests are looked at whenever the daemon's loop comes around, every five seconds.
    assert sensors["requests"].minimum_interval_seconds == 1


def test_the_sensors_are_on_and_say_what_they_do(tmp_path: Path) -> None:
    made = definitions(tmp_path).get_repository_def().sensor_defs
    found = {sensor.name: sensor for sensor in made}
    assert {"late_data", "missed_nights"} <= found.keys()
    for name, sensor in found.items():
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING, name
        assert sensor.description, name


def test_the_night_begins_by_itself_at_the_configured_time_of_the_zone(tmp_path: Path) -> None:
    made = definitions(
        tmp_path,
        MARKETING_TIMEZONE="America/New_York",
        MARKETING_ANALYSIS_HOUR=3,
        MARKETING_ANALYSIS_MINUTE=45,
        MARKETING_START_DATE=date(2026, 1, 1),
    )
    schedule = made.resolve_schedule_def("nightly_marketing")
    assert schedule.cron_schedule == "45 3 * * *"
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    # 03:45 in New York, in winter: the day that has just ended there.
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 2, 11, 8, 45, tzinfo=UTC),
            repository_def=made.get_repository_def(),
        )
        ticked = schedule.evaluate_tick(context)
    [request] = ticked.run_requests or []
    assert request.partition_key == "2026-02-10"
    assert request.tags["trigger"] == "schedule"


def test_the_clean_up_begins_by_itself_at_the_configured_time_of_the_zone(tmp_path: Path) -> None:
    made = definitions(
        tmp_path,
        MARKETING_TIMEZONE="America/New_York",
        CAMPAIGN_CLEANUP_HOUR=4,
        CAMPAIGN_CLEANUP_MINUTE=20,
    )
    schedule = made.resolve_schedule_def("campaign_cleanup")
    assert schedule.cron_schedule == "20 4 * * *"
    assert schedule.execution_timezone == "America/New_York"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "campaign_cleanup"


def test_partitions_are_the_days_of_the_lake_in_its_zone(tmp_path: Path) -> None:
    made = definitions(
        tmp_path, MARKETING_TIMEZONE="Asia/Tokyo", MARKETING_START_DATE=date(2026, 1, 1)
    ).resolve_asset_graph()
    partitions = made.get(dg.AssetKey("transactions")).partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    assert partitions.timezone == "Asia/Tokyo"
    # Midnight in Tokyo is 15:00 UTC.
    before = partitions.get_partition_keys(datetime(2026, 1, 3, 14, 59, tzinfo=UTC))
    after = partitions.get_partition_keys(datetime(2026, 1, 3, 15, 0, tzinfo=UTC))
    assert (list(before), list(after)) == (
        ["2026-01-01", "2026-01-02"],
        ["2026-01-01", "2026-01-02", "2026-01-03"],
    )


def test_features_of_a_day_are_made_from_the_days_of_its_window(tmp_path: Path) -> None:
    made = definitions(tmp_path, MARKETING_START_DATE=date(2026, 1, 1)).resolve_asset_graph()
    node = made.get(dg.AssetKey("user_features"))
    mapping = made.get_partition_mapping(node.key, dg.AssetKey("transactions"))
    assert isinstance(mapping, dg.TimeWindowPartitionMapping)
    assert (mapping.start_offset, mapping.end_offset) == (-89, 0)


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MARKETING_", "DAGSTER"))
    }
    return {**kept, "MARKETING_HOME": str(home), "DAGSTER_HOME": str(home), "PYTHONWARNINGS": "default"}


def test_dagster_validates_the_workspace_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dagster")),
            "definitions",
            "validate",
            "-w",
            str(REPOSITORY / "workspace.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "All code locations passed validation." in said
    # Dagster says of this very command that a newer one does the same.
    warned = [line for line in said.splitlines() if "arning" in line and "SupersessionWarning" not in line]
    assert warned == []


WATCHED = """
import json, sys
opened, connected = [], []

def watch(event, arguments):
    if event == "open":
        opened.append(str(arguments[0]))
    elif event in ("socket.connect", "socket.bind", "subprocess.Popen"):
        connected.append([event, str(arguments)])

import dagster
sys.addaudithook(watch)
import marketing_assets.definitions
names = ("duckdb", "sqlalchemy", "psycopg", "psycopg2", "pandas", "sqlglot", "alembic", "scipy")
heavy = {"imported": [name for name in names if name in sys.modules]}
from marketing_assets.orchestration.build import build_definitions
from marketing_assets.settings import load_settings
loaded = build_definitions(load_settings()).get_repository_def()
loaded.load_all_definitions()
heavy["loaded"] = [name for name in names if name in sys.modules]
jobs = sorted(loaded.job_names)
print(json.dumps({"opened": opened, "connected": connected, "heavy": heavy, "jobs": jobs}))
"""


def test_loading_opens_no_connection_and_no_file_but_env_and_code(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MARKETING_CURRENCY=EUR\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "nightly_marketing" in found["jobs"]
    assert found["heavy"] == {"imported": [], "loaded": []}
    assert found["connected"] == []
    code = (sys.prefix, sys.base_prefix, str(REPOSITORY / "marketing_assets"), "/usr/share/zoneinfo")
    others = {file for file in found["opened"] if not file.startswith(code)}
    # The lake's own record says when its first day is; here there is none yet.
    record = tmp_path / "home" / "lake" / "lake.json"
    assert {str((tmp_path / file).resolve()) for file in others} == {str(tmp_path / ".env"), str(record)}
    assert sorted(file.name for file in tmp_path.iterdir()) == [".env"]
