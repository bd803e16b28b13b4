"""The lake's record: made once, then every other setting is refused."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from marketing_assets.domain.identity import fingerprint
from marketing_assets.errors import LakeError
from marketing_assets.settings import Settings
from marketing_assets.storage.lake_record import FILE, LakeRecord, ensure_record, read_record

TODAY = date(2026, 2, 11)


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **{f"MARKETING_{name.upper()}": value for name, value in values.items()})


def test_a_lake_is_recorded_once_and_the_record_stays(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    assert read_record(root) is None
    made = ensure_record(root, settings(source="files", timezone="Europe/Paris", currency="EUR"), TODAY)
    assert made == LakeRecord("files", None, "Europe/Paris", "EUR", date(2025, 1, 7))
    text = (root / FILE).read_bytes()
    later = ensure_record(
        root, settings(source="files", timezone="Europe/Paris", currency="EUR"), date(2026, 12, 1)
    )
    assert later == made == read_record(root)
    assert (root / FILE).read_bytes() == text
    assert [file.name for file in root.iterdir()] == [FILE]


def test_the_demo_source_is_shifted_by_whole_weeks_to_yesterday_or_later(tmp_path: Path) -> None:
    made = ensure_record(tmp_path, settings(), TODAY)
    assert made.replay_shift is not None
    assert made.replay_shift % 7 == 0
    last_day = date.fromordinal(date(2017, 12, 31).toordinal() + made.replay_shift)
    assert 0 <= (last_day - date(2026, 2, 10)).days < 7
    unshifted = ensure_record(tmp_path / "real", settings(source_replay=False), TODAY)
    assert unshifted.replay_shift is None


def test_replay_means_nothing_to_other_sources(tmp_path: Path) -> None:
    made = ensure_record(tmp_path, settings(source="files", source_replay=True), TODAY)
    assert made.replay_shift is None
    assert ensure_record(tmp_path, settings(source="files", source_replay=False), TODAY) == made


def test_a_start_date_is_fixed_and_may_be_left_out_afterwards(tmp_path: Path) -> None:
    given = settings(source="files", start_date=date(2025, 6, 1))
    assert ensure_record(tmp_path, given, TODAY).start_date == date(2025, 6, 1)
    assert ensure_record(tmp_path, settings(source="files"), TODAY).start_date == date(2025, 6, 1)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"source": "files"}, "MARKETING_SOURCE=complete_journey, not files"),
        ({"source_replay": False}, "MARKETING_SOURCE_REPLAY=true, not false"),
        ({"timezone": "Asia/Tokyo"}, "MARKETING_TIMEZONE=UTC, not Asia/Tokyo"),
        ({"currency": "EUR"}, "MARKETING_CURRENCY=USD, not EUR"),
        ({"start_date": date(2025, 1, 8)}, "MARKETING_START_DATE=2025-01-07, not 2025-01-08"),
    ],
)
def test_other_settings_than_the_lake_was_made_with_are_refused(
    tmp_path: Path, other: dict[str, Any], said: str
) -> None:
    ensure_record(tmp_path, settings(), TODAY)
    with pytest.raises(LakeError) as refused:
        ensure_record(tmp_path, settings(**other), TODAY)
    assert refused.value.message == f"the lake at {tmp_path} was made with {said}"


def test_a_simulated_population_is_never_mixed_with_another(tmp_path: Path) -> None:
    made = ensure_record(tmp_path, settings(source="simulated", simulated_users=500), TODAY)
    assert (made.simulated_users, made.simulated_seed) == (500, 1)
    assert ensure_record(tmp_path, settings(source="simulated", simulated_users=500), TODAY) == made
    for other, said in (
        ({"simulated_users": 501}, "MARKETING_SIMULATED_USERS=500, not 501"),
        ({"simulated_users": 500, "simulated_seed": 2}, "MARKETING_SIMULATED_SEED=1, not 2"),
    ):
        with pytest.raises(LakeError) as refused:
            ensure_record(tmp_path, settings(source="simulated", **other), TODAY)
        assert refused.value.message == f"the lake at {tmp_path} was made with {said}"
    remedy = said.partition(", not ")[0]
    assert refused.value.remedy == f"set {remedy}, or set MARKETING_LAKE to another directory"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"format": 1}',
        '{"format": 1, "source": "files", "replay_shift": null, "timezone": "UTC", "currency": "USD", '
        '"start_date": "soon"}',
        '{"format": 1, "source": "files", "replay_shift": null, "timezone": "UTC", "currency": "USD", '
        '"start_date": "2026-01-01", "more": 1}',
    ],
)
def test_a_record_that_is_damaged_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(LakeError, match=r"lake\.json cannot be read") as refused:
        ensure_record(tmp_path, settings(), TODAY)
    assert "backup" in refused.value.remedy
    assert (tmp_path / FILE).read_text(encoding="utf-8") == text


def test_a_record_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    ensure_record(tmp_path, settings(), TODAY)
    content = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    (tmp_path / FILE).write_text(json.dumps({**content, "format": 2, "key": "abc"}), encoding="utf-8")
    with pytest.raises(LakeError, match="has format 2, this version knows 1") as refused:
        read_record(tmp_path)
    assert "upgrade marketing_assets" in refused.value.remedy


def test_a_lake_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    with pytest.raises(LakeError) as refused:
        ensure_record(tmp_path / "file" / "lake", settings(), TODAY)
    assert str(tmp_path / "file" / "lake") in refused.value.message
    assert "MARKETING_LAKE" in refused.value.remedy


def test_several_processes_at_once_agree_on_one_record(tmp_path: Path) -> None:
    # Each proposes another first day, so that agreeing is not chance.
    code = (
        "import sys, datetime, pathlib;"
        "from marketing_assets.settings import Settings;"
        "from marketing_assets.storage.lake_record import ensure_record;"
        "settings = Settings(_env_file=None, MARKETING_SOURCE='files');"
        "sys.stdin.readline();"
        "day = datetime.date(2026, 2, int(sys.argv[2]));"
        "print(ensure_record(pathlib.Path(sys.argv[1]), settings, day).start_date)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "lake"), str(day)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for day in (1, 2, 3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=30)[0].strip() for process in processes]
    record = read_record(tmp_path / "lake")
    assert record is not None
    assert answers == [record.start_date.isoformat()] * 3
    assert [file.name for file in (tmp_path / "lake").iterdir()] == [FILE]


def test_a_lake_knows_its_pseudonym_key_and_refuses_every_other(tmp_path: Path) -> None:
    key, other = "k" * 32, "o" * 32
    made = ensure_record(tmp_path / "keyed", settings(source="files", pseudonym_key=key), TODAY)
    assert made.pseudonym_key == fingerprint(key.encode())
    assert key not in (tmp_path / "keyed" / FILE).read_text()
    plain = ensure_record(tmp_path / "plain", settings(source="files"), TODAY)
    assert plain.pseudonym_key is None
    refusals = {
        ("keyed", None): f"with the MARKETING_PSEUDONYM_KEY of fingerprint {made.pseudonym_key}, not None",
        ("keyed", other): f"with the MARKETING_PSEUDONYM_KEY of fingerprint {made.pseudonym_key}, not "
        f"{fingerprint(other.encode())}",
        ("plain", key): "without MARKETING_PSEUDONYM_KEY",
    }
    for (lake, asked), said in refusals.items():
        with pytest.raises(LakeError) as refused:
            ensure_record(tmp_path / lake, settings(source="files", pseudonym_key=asked), TODAY)
        assert refused.value.message == f"the lake at {tmp_path / lake} was made {said}"


def test_a_lake_of_before_has_ids_as_they_are(tmp_path: Path) -> None:
    ensure_record(tmp_path, settings(source="files"), TODAY)
    record = json.loads((tmp_path / FILE).read_text())
    del record["pseudonym_key"]
    (tmp_path / FILE).write_text(json.dumps(record))
    assert ensure_record(tmp_path, settings(source="files"), TODAY).pseudonym_key is None
