"""Settings: defaults, `.env`, and one line for each wrong value."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings, load_settings

NAMES = [str(field.validation_alias) for field in Settings.model_fields.values()]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_a_laptop(tmp_path: Path) -> None:
    settings = load_settings()
    assert (settings.analysis_hour, settings.analysis_minute, settings.timezone) == (2, 0, "UTC")
    assert (settings.cleanup_hour, settings.cleanup_minute) == (3, 0)
    assert (settings.retention_days, settings.feature_retention_days) == (400, 35)
    assert (settings.source, settings.source_replay) == ("complete_journey", True)
    assert (settings.window_days, settings.max_users, settings.max_rejected) == (90, None, Decimal("0.05"))
    assert (settings.threads, settings.memory_limit, settings.currency) == (None, "1GiB", "USD")
    assert (settings.database_url, settings.start_date, settings.policy) == (None, None, None)
    assert settings.lake == tmp_path / ".marketing" / "lake"
    assert settings.dagster_home == tmp_path / ".marketing" / "dagster"
    assert settings.embedded_database == tmp_path / ".marketing" / "postgres"
    assert settings.own_dagster_home


def test_every_setting_is_named_in_the_example() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"{name}=" not in example] == []


def test_the_example_as_it_stands_is_the_defaults(tmp_path: Path) -> None:
    defaults = load_settings()
    example = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(example, encoding="utf-8")
    assert load_settings().model_copy(update={"lake_path": None}) == defaults
    assert load_settings().lake == defaults.lake


def test_env_file_is_read_and_the_environment_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "MARKETING_TIMEZONE=Europe/Paris\nMARKETING_START_DATE=2026-01-05\nMARKETING_WINDOW_DAYS=60\n"
        "ANOTHER_PROGRAMS=variable\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("MARKETING_WINDOW_DAYS", "61")
    settings = load_settings()
    assert settings.timezone == "Europe/Paris"
    assert settings.zone.key == "Europe/Paris"
    assert settings.start_date == date(2026, 1, 5)
    assert settings.window_days == 61


def test_empty_values_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert load_settings() == Settings(_env_file=None)


def test_places_follow_home_unless_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETING_HOME", "elsewhere")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "mine"))
    settings = load_settings()
    assert settings.lake == tmp_path / "elsewhere" / "lake"
    assert settings.dagster_home == tmp_path / "mine"
    assert not settings.own_dagster_home
    monkeypatch.setenv("MARKETING_LAKE", "lake")
    assert load_settings().lake == tmp_path / "lake"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MARKETING_ANALYSIS_HOUR", "24", "a whole number from 0 to 23"),
        ("MARKETING_ANALYSIS_HOUR", "-1", "a whole number from 0 to 23"),
        ("MARKETING_ANALYSIS_HOUR", "two", "a whole number from 0 to 23"),
        ("MARKETING_ANALYSIS_MINUTE", "60", "a whole number from 0 to 59"),
        ("CAMPAIGN_CLEANUP_HOUR", "24", "from 0 to 23"),
        ("CAMPAIGN_CLEANUP_MINUTE", "-1", "from 0 to 59"),
        ("MARKETING_RETENTION_DAYS", "89", "at least the days of the window (MARKETING_WINDOW_DAYS, 90)"),
        ("MARKETING_RETENTION_DAYS", "36501", "a whole number, at most 36500"),
        ("MARKETING_FEATURE_RETENTION_DAYS", "1", "from 2 to 36500"),
        ("MARKETING_DEADLINE_HOURS", "0", "a whole number from 1 to 12"),
        ("MARKETING_TIMEZONE", "Mars/Olympus", "IANA time zone database"),
        ("MARKETING_TIMEZONE", "../../etc/passwd", "IANA time zone database"),
        ("MARKETING_START_DATE", "31.12.2025", "a day such as 2026-01-31"),
        ("MARKETING_SOURCE", "oracle", "'complete_journey', 'simulated', 'files' or 'postgres'"),
        ("MARKETING_SOURCE_REPLAY", "perhaps", "true or false"),
        ("MARKETING_WINDOW_DAYS", "30", "from 31 to 120"),
        ("MARKETING_WINDOW_DAYS", "121", "from 31 to 120"),
        ("MARKETING_MAX_USERS", "0", "a whole number, at least 1"),
        ("MARKETING_MAX_REJECTED", "1.01", "a number from 0 to 1"),
        ("MARKETING_MAX_REJECTED", "NaN", "a number from 0 to 1"),
        ("MARKETING_CURRENCY", "dollars", "three capital letters, such as USD"),
        ("MARKETING_CURRENCY", "US\n", "three capital letters"),
        ("MARKETING_THREADS", "0", "from 1 to 256"),
        ("MARKETING_MEMORY_LIMIT", "lots", "a size such as 512MB or 1GiB"),
        ("MARKETING_MEMORY_LIMIT", "0GiB", "GiB"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    message = refused.value.message
    assert message.startswith(f"{name}={value!r} is not allowed: ")
    assert allowed in message
    assert "\n" not in message
    assert name in refused.value.remedy


@pytest.mark.parametrize("name", ["MARKETING_DATABASE_URL", "MARKETING_DAGSTER_DATABASE_URL"])
def test_a_wrong_address_is_refused_without_showing_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "mysql://root:hunter2@host/db")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.message.startswith(f"{name}=(hidden) is not allowed: a URL such as postgresql://")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql://app:hunter2@host:notaport/db",
        "postgresql://app:hunter2@host/",
    ],
)
def test_an_address_that_is_no_address_is_refused_without_showing_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETING_DATABASE_URL", url)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.message.startswith("MARKETING_DATABASE_URL=(hidden) is not allowed: a URL such as")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://host/db",
        "postgresql://app:p%40ss/w#rd?@host:5432/db?sslmode=require",
        "postgresql+psycopg2://app@[::1]:5432/db",
        "postgresql+psycopg://postgres@/marketing?host=%2Ftmp%2Fx",
    ],
)
def test_addresses_of_every_usual_form_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETING_DATABASE_URL", url)
    assert load_settings().database_url == url


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARKETING_DATABASE_URL", "MARKETING_DAGSTER_DATABASE_URL", "MARKETING_SOURCE_URL"):
        monkeypatch.setenv(name, "postgresql://app:hunter2@host/db")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_an_env_file_that_is_not_text_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MARKETING_CURRENCY=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read") as refused:
        load_settings()
    assert "UTF-8" in refused.value.remedy


def test_alert_urls_are_parted_at_commas_between_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "MARKETING_ALERT_URLS", "json://127.0.0.1:8080/a, mailto://me:pass@example.org?to=a@b.org,c@d.org,"
    )
    settings = load_settings()
    assert [url.get_secret_value() for url in settings.alert_urls] == [
        "json://127.0.0.1:8080/a",
        "mailto://me:pass@example.org?to=a@b.org,c@d.org",
    ]
    assert "127.0.0.1:8080" not in repr(settings)


@pytest.mark.parametrize(
    "urls", ["json://127.0.0.1:8080/secret,nonsense://hunter2", "json://host/secret,json://", "hunter2"]
)
def test_an_alert_address_that_no_service_has_is_refused_without_showing_it(
    urls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETING_ALERT_URLS", urls)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.message.startswith("MARKETING_ALERT_URLS=(hidden) is not allowed: address ")
    assert refused.value.message.endswith("is none that apprise knows")
    assert "\n" not in refused.value.message
    assert "hunter2" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_address_of_the_ui_is_one_a_browser_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().ui_url == "http://127.0.0.1:3000"
    monkeypatch.setenv("MARKETING_UI_URL", "https://dagster.example.org/marketing/")
    assert load_settings().ui_url == "https://dagster.example.org/marketing"
    monkeypatch.setenv("MARKETING_UI_URL", "dagster.example.org")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.message == (
        "MARKETING_UI_URL='dagster.example.org' is not allowed: a URL such as http://127.0.0.1:3000"
    )
