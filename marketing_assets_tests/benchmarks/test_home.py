import json
from pathlib import Path

import pytest

from benchmarks.home import FIRST_NIGHT, INGESTED, SEED, Ingest, home_of
from marketing_assets.settings import Settings
from marketing_assets.sources import simulated
from marketing_assets.storage.datasets import TRANSACTIONS


def test_the_environment_is_the_product_s_own_whatever_is_set_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETING_DATABASE_URL", "postgresql://somewhere/else")
    monkeypatch.setenv("DAGSTER_HOME", "/somewhere/else")
    environment = home_of(1000, tmp_path).environment
    assert "MARKETING_DATABASE_URL" not in environment
    assert "DAGSTER_HOME" not in environment
    monkeypatch.delenv("MARKETING_DATABASE_URL")
    settings = Settings.model_validate(environment)
    assert (settings.source, settings.simulated_users, settings.simulated_seed) == ("simulated", 1000, SEED)
    assert settings.lake == tmp_path / "1000" / "lake"
    assert settings.database_url is None


def test_a_whole_window_lies_before_the_first_night() -> None:
    assert len(INGESTED) == 90
    assert (FIRST_NIGHT - INGESTED[-1]).days == 1


def test_data_stays_until_its_generator_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of(1000, tmp_path)
    assert home.missing == INGESTED
    file = home.lake.path(TRANSACTIONS, INGESTED[0])
    file.parent.mkdir(parents=True)
    file.touch()
    home.add_ingest(Ingest(1, 1000, 2.0))
    home.add_ingest(Ingest(2, 3000, 4.0))

    again = home_of(1000, tmp_path)
    assert again.missing == INGESTED[1:]
    assert again.ingest == Ingest(3, 4000, 6.0)

    monkeypatch.setattr(simulated, "EFFECTS", {"inactive": 0.3})  # decides nothing of days before the nights
    assert home_of(1000, tmp_path).missing == INGESTED[1:]
    monkeypatch.setattr(simulated, "PERSONAS", simulated.PERSONAS[1:])
    other = home_of(1000, tmp_path)
    assert other.missing == INGESTED
    assert json.loads((other.directory / "data.json").read_text())["ingests"] == []
