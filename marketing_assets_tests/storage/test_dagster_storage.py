"""Dagster's own database: what grows for ever goes, what people look back at stays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.events import DagsterEventType

from marketing_assets.errors import DagsterStorageError, DatabaseError
from marketing_assets.storage.dagster_storage import PURGED, Purged, purge

KEPT = {
    "ASSET_CHECK_EVALUATION",
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_HEALTH_CHANGED",
    "ASSET_MATERIALIZATION",
    "ASSET_OBSERVATION",
    "ASSET_WIPED",
    "CODE_LOCATION_UPDATED",
    "FRESHNESS_STATE_CHANGE",
    "FRESHNESS_STATE_EVALUATION",
    "PIPELINE_CANCELED",
    "PIPELINE_FAILURE",
    "PIPELINE_START",
    "PIPELINE_SUCCESS",
    "RUN_RESUMED",
    "RUN_SUSPENDED",
}
NOW = datetime.now(UTC)
OLDER_THAN_ALL = NOW + timedelta(days=30)


@dg.asset(check_specs=[dg.AssetCheckSpec("fine", asset="thing")])
def thing(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[object]]:
    context.log.info("a line of the log")
    yield dg.MaterializeResult(
        metadata={"rows": 7},
        check_results=[dg.AssetCheckResult(check_name="fine", passed=True, metadata={"observed": 0})],
    )


class Storage:
    """A Dagster instance on a PostgreSQL of its own, and its tables."""

    def __init__(self, home: Path, url: str) -> None:
        self.libpq = url
        self.url = url.replace("postgresql://", "postgresql+psycopg2://")
        home.joinpath("dagster.yaml").write_text(
            f"storage: {{postgres: {{postgres_url: '{self.url}'}}}}\ntelemetry: {{enabled: false}}\n",
            encoding="utf-8",
        )
        self.instance = dg.DagsterInstance.from_config(str(home))

    def run(self) -> str:
        job = dg.Definitions(
            assets=[thing], jobs=[dg.define_asset_job("things", executor_def=dg.in_process_executor)]
        ).resolve_job_def("things")
        result = job.execute_in_process(instance=self.instance)
        assert result.success
        return result.run_id

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.libpq) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def types(self) -> dict[str | None, int]:
        return dict(self.sql("select dagster_event_type, count(*) from event_logs group by 1"))

    def tick(self, selector: str, status: str, at: datetime) -> None:
        self.sql(
            "insert into job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)"
            " values ('origin', %s, %s, 'SENSOR', %s, '')",
            selector,
            status,
            at.replace(tzinfo=None),
        )


@pytest.fixture
def storage(tmp_path: Path, fresh_database: str) -> Iterator[Storage]:
    made = Storage(tmp_path, fresh_database)
    yield made
    made.instance.dispose()


def test_every_type_of_event_that_dagster_knows_is_judged() -> None:
    known = {each.value for each in DagsterEventType}
    assert known == set(PURGED) | KEPT
    assert not set(PURGED) & KEPT


def test_steps_log_and_plans_go_after_14_days_and_results_stay(storage: Storage) -> None:
    run_id = storage.run()
    before = storage.types()
    assert {"STEP_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION_PLANNED", "ENGINE_EVENT", None} <= set(
        before
    )
    assert purge(storage.url, NOW + timedelta(days=13, hours=23)).events_purged == 0
    assert storage.types() == before

    purged = purge(storage.url, datetime.now(UTC) + timedelta(days=14, minutes=1))
    stays = {name: count for name, count in before.items() if name in KEPT}
    assert storage.types() == stays
    assert set(stays) == {
        "ASSET_CHECK_EVALUATION",
        "ASSET_MATERIALIZATION",
        "PIPELINE_START",
        "PIPELINE_SUCCESS",
    }
    assert purged.events_purged == sum(before.values()) - sum(stays.values())
    assert purged.complete
    assert purge(storage.url, OLDER_THAN_ALL).events_purged == 0

    made = storage.instance.get_latest_materialization_event(dg.AssetKey("thing"))
    assert made is not None
    assert made.asset_materialization is not None
    assert made.asset_materialization.metadata["rows"].value == 7
    [check] = storage.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("thing"), "fine"), limit=5
    )
    assert check.status.value == "SUCCEEDED"
    run = storage.instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    record = storage.instance.get_run_record_by_id(run_id)
    assert record is not None
    assert record.start_time is not None
    assert storage.instance.get_materialized_partitions(dg.AssetKey("thing")) == set()


def test_events_of_a_run_that_has_not_ended_stay(storage: Storage) -> None:
    storage.run()
    before = storage.types()
    storage.sql("update runs set status = 'STARTED'")
    assert purge(storage.url, OLDER_THAN_ALL).events_purged == 0
    assert storage.types() == before


def test_a_batch_is_a_transaction_and_no_more_than_so_many_go_at_once(storage: Storage) -> None:
    storage.run()
    due = sum(count for name, count in storage.types().items() if name not in KEPT)
    assert due > 7
    first = purge(storage.url, OLDER_THAN_ALL, batch=3, most_batches=2)
    assert (first.events_purged, first.complete) == (6, False)
    rest = purge(storage.url, OLDER_THAN_ALL, batch=3, most_batches=100)
    assert (rest.events_purged, rest.complete) == (due - 6, True)


def test_skipped_ticks_go_after_a_day_except_the_newest_of_each(storage: Storage) -> None:
    hours = timedelta(hours=1)
    for selector, status, age in (
        ("requests", "SKIPPED", 30 * hours),
        ("requests", "SKIPPED", 25 * hours),
        ("requests", "SUCCESS", 48 * hours),
        ("requests", "FAILURE", 49 * hours),
        ("requests", "SKIPPED", 23 * hours),
        ("daily", "SKIPPED", 72 * hours),
        ("daily", "SKIPPED", 48 * hours),
    ):
        storage.tick(selector, status, NOW - age)
    assert purge(storage.url, NOW).ticks_purged == 3
    assert storage.sql("select selector_id, status from job_ticks order by 1, timestamp") == [
        ("daily", "SKIPPED"),
        ("requests", "FAILURE"),
        ("requests", "SUCCESS"),
        ("requests", "SKIPPED"),
    ]


def test_the_size_is_that_of_the_database(storage: Storage) -> None:
    storage.run()
    purged = purge(storage.url, NOW)
    assert purged == Purged(0, 0, storage.sql("select pg_database_size(current_database())")[0][0], True)


BACKLOG = (
    "insert into event_logs (run_id, event, dagster_event_type, timestamp)"
    " select run_id, repeat('x', 900), 'ENGINE_EVENT', timestamp from event_logs, generate_series(1, 20000)"
    " where dagster_event_type = 'PIPELINE_START'"
)


@pytest.mark.verify
def test_the_room_of_a_backlog_is_given_back_unless_somebody_is_at_work(storage: Storage) -> None:
    storage.run()
    size = "select pg_relation_size('event_logs')"
    storage.sql(BACKLOG)
    [(full,)] = storage.sql(size)
    with psycopg.connect(storage.libpq) as other:
        other.execute("select from event_logs limit 1")
        assert purge(storage.url, OLDER_THAN_ALL).events_purged > 20_000
        assert storage.sql(size) == [(full,)]
    storage.sql(BACKLOG)
    purge(storage.url, OLDER_THAN_ALL)
    assert storage.sql(size)[0][0] < full / 20


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("alter table event_logs rename column timestamp to at", "it has no event_logs.timestamp (timestamp"),
        ("alter table event_logs alter column id type numeric", "it has no event_logs.id (bigint)"),
        ("drop table job_ticks", "it has no job_ticks.id (bigint), job_ticks.job_origin_id"),
        ("update alembic_version set version_num = 'newer'", "its revision is newer, not 29b539ebc72a"),
    ],
)
def test_another_schema_is_refused_and_nothing_goes(storage: Storage, change: str, says: str) -> None:
    storage.run()
    before = storage.sql("select count(*) from event_logs")
    storage.sql(change)
    with pytest.raises(DagsterStorageError) as refused:
        purge(storage.url, OLDER_THAN_ALL)
    assert says in refused.value.message
    assert "dagster instance migrate" in refused.value.remedy
    assert storage.sql("select count(*) from event_logs") == before


def test_a_database_that_is_down_is_one_clear_error() -> None:
    with pytest.raises(DatabaseError, match="Dagster's events cannot be removed") as refused:
        purge("postgresql+psycopg2://app:hunter2@127.0.0.1:1/dagster", NOW)
    assert "hunter2" not in str(refused.value)
