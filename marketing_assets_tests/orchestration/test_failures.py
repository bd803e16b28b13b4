"""Why a run failed, read from its events: real runs that fail in each way."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import psycopg
import pytest

from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.errors import DatabaseError, LakeError, PolicyError, SourceError, WriterLockError
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.metadata import Results, named_failures
from marketing_assets.orchestration.platform import Platform, platform_resource
from marketing_assets.settings import Settings
from marketing_assets.storage.lake import Lake

SECRET = "user-77"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def failed(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> str:
    """Id of a run of the asset that failed."""
    result = dg.materialize([asset], instance=instance, raise_on_error=False)
    assert not result.success
    return result.run_id


def test_an_error_of_the_project_gives_its_own_words(instance: dg.DagsterInstance) -> None:
    @dg.asset
    def broken() -> None:
        with named_failures():
            raise SourceError("the table purchases does not exist", remedy="name the right table")

    failure = failure_of_run(instance, failed(instance, broken))
    assert (failure.step, failure.error, failure.remedy) == (
        "broken",
        "the table purchases does not exist",
        "name the right table",
    )
    assert failure.text == "the table purchases does not exist\n  What to do: name the right table"
    assert failure.without_data() == failure


def test_what_nobody_expected_is_told_to_the_person_and_kept_from_alerts(
    instance: dg.DagsterInstance,
) -> None:
    @dg.asset
    def broken() -> None:
        raise KeyError(SECRET)

    failure = failure_of_run(instance, failed(instance, broken))
    assert failure.text.startswith(f"KeyError: '{SECRET}'")
    told = failure.without_data()
    assert (told.step, told.error) == ("broken", "KeyError (what it says is in the run)")
    assert SECRET not in told.text


def test_a_blocking_check_tells_what_it_saw_and_how_to_list_it(instance: dg.DagsterInstance) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("unique_key", asset="broken", blocking=True)])
    def broken() -> Results:
        yield dg.MaterializeResult()
        yield dg.AssetCheckResult(
            check_name="unique_key",
            passed=False,
            metadata={"observed": 3, "limit": 0, "how_to_list": "duckdb -c '...'"},
        )

    failure = failure_of_run(instance, failed(instance, broken))
    assert failure.step == "broken"
    assert failure.error == "the check unique_key of broken failed: observed 3, limit 0"
    assert failure.remedy == "list the rows with duckdb -c '...'"
    assert not failure.transient


def test_a_run_whose_process_died_says_what_dagster_saw(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="nightly_marketing")
    instance.add_run(run)
    instance.report_run_failed(run, "Run worker exited unexpectedly")
    failure = failure_of_run(instance, run.run_id)
    assert (failure.step, failure.error) == (None, "Run worker exited unexpectedly")
    assert failure.remedy is not None
    assert "memory" in failure.remedy
    assert failure.transient


def test_a_run_without_a_word_still_has_a_remedy(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="nightly_marketing")
    instance.add_run(run)
    assert failure_of_run(instance, run.run_id).text == (
        "no error was recorded\n  What to do: see the run in the UI"
    )


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (SourceError("the source is away", remedy="start it", transient=True), True),
        (SourceError("no such table", remedy="name it", transient=False), False),
        (WriterLockError("another writer is at work: run 1", remedy="wait"), True),
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.errors.DiskFull("kein Platz mehr"), True),
        (psycopg.errors.UniqueViolation("twice"), False),
        (KeyError(SECRET), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whether_the_cause_can_pass_is_kept_with_the_failure(
    instance: dg.DagsterInstance, error: Exception, transient: bool
) -> None:
    @dg.asset
    def broken() -> None:
        with named_failures():
            raise error

    failure = failure_of_run(instance, failed(instance, broken))
    assert failure.transient is transient
    assert failure.without_data().transient is transient


class Quoting(psycopg.errors.UniqueViolation):
    """As the server sends it: what is wrong stands apart from the row."""

    diag = SimpleNamespace(message_primary="twice")  # type: ignore[assignment]


@pytest.mark.parametrize("named", [False, True])
def test_what_the_database_quotes_is_kept_nowhere(instance: dg.DagsterInstance, named: bool) -> None:
    @dg.asset
    def broken() -> None:
        with named_failures():
            try:
                raise Quoting(f"twice\nCONTEXT: COPY rows, line 1: {SECRET}")
            except psycopg.Error as error:
                if not named:
                    raise
                raise DatabaseError("it failed", remedy="do this", transient=False) from error

    run_id = failed(instance, broken)
    kept = [repr(record.event_log_entry) for record in instance.get_records_for_run(run_id).records]
    assert any("do this" in each or "nothing is half done" in each for each in kept)
    assert [each for each in kept if SECRET in each] == []


@pytest.mark.parametrize(("number", "transient"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_full_disk_can_pass_and_a_forbidden_one_cannot(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    transient: bool,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    @dg.asset
    def broken() -> None:
        with named_failures(), monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", refuse)
            _ = Lake(tmp_path / "lake").scratch

    failure = failure_of_run(instance, failed(instance, broken))
    assert failure.error.startswith("the lake cannot be written at ")
    assert failure.transient is transient


def test_a_disk_that_is_full_while_a_partition_is_written_can_pass(tmp_path: Path) -> None:
    engine = DuckDBEngine(memory_limit="256MiB", threads=1, temp_directory=tmp_path)
    with pytest.raises(dg.Failure) as raised, named_failures():
        engine.write_parquet("select range as number from range(1000000)", None, Path("/dev/full"))
    engine.close()
    assert isinstance(raised.value.__cause__, LakeError)
    assert raised.value.metadata["transient"].value is True
    assert raised.value.allow_retries is False


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (DatabaseError("PostgreSQL cannot be reached", remedy="start it", transient=True), True),
        (WriterLockError("another writer is at work: run 1", remedy="wait"), True),
        (PolicyError("the policy is wrong", remedy="mend it"), False),
    ],
    ids=["database", "writer", "policy"],
)
def test_what_a_run_lacks_when_it_begins_is_known_too(
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    transient: bool,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(Platform, "open", refuse)
    monkeypatch.setattr("marketing_assets.orchestration.platform._OPEN_AGAIN_AFTER", ())

    @dg.asset(required_resource_keys={"platform"})
    def step() -> None:
        pass

    settings = Settings(_env_file=None, MARKETING_HOME=tmp_path)
    result = dg.materialize(
        [step],
        instance=instance,
        resources={"platform": platform_resource(settings)},
        raise_on_error=False,
    )
    assert not result.success
    failure = failure_of_run(instance, result.run_id)
    assert failure.transient is transient
    assert failure.text.endswith(str(error)) is transient
