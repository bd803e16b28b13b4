"""`dagster.yaml` as Dagster reads it: how many runs at once, and which first."""

from pathlib import Path

import dagster as dg
import pytest

from marketing_assets.orchestration.running import copy_packaged

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path: Path, fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    url = fresh_database.replace("postgresql:", "postgresql+psycopg2:")
    monkeypatch.setenv("MARKETING_DAGSTER_DATABASE_URL", url)
    copy_packaged("dagster.yaml", tmp_path / "dagster.yaml")
    return dg.DagsterInstance.from_config(str(tmp_path))


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_the_files_of_the_repository_are_those_of_the_package(name: str) -> None:
    packaged = REPOSITORY / "marketing_assets" / "orchestration" / name
    assert (REPOSITORY / name).read_text(encoding="utf-8") == packaged.read_text(encoding="utf-8")


def test_two_runs_at_once_of_which_one_may_be_a_backfill_s(instance: dg.DagsterInstance) -> None:
    with instance:
        config = instance.get_concurrency_config().run_queue_config
        assert config is not None
        assert config.max_concurrent_runs == 2
        assert config.tag_concurrency_limits == [{"key": "dagster/backfill", "limit": 1}]
