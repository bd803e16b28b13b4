"""Why a run failed, read from its events: real runs that fail in each way."""

from collections.abc import Iterator

import dagster as dg
import pytest

from marketing_assets.errors import SourceError
from marketing_assets.orchestration.failures import failure_of_run
from marketing_assets.orchestration.metadata import Results, named_failures

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


def test_a_run_whose_process_died_says_what_dagster_saw(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="nightly_marketing")
    instance.add_run(run)
    instance.report_run_failed(run, "Run worker exited unexpectedly")
    failure = failure_of_run(instance, run.run_id)
    assert (failure.step, failure.error) == (None, "Run worker exited unexpectedly")
    assert failure.remedy is not None
    assert "memory" in failure.remedy


def test_a_run_without_a_word_still_has_a_remedy(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(job_name="nightly_marketing")
    instance.add_run(run)
    assert failure_of_run(instance, run.run_id).text == (
        "no error was recorded\n  What to do: see the run in the UI"
    )
