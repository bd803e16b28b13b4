"""Every environment variable the project reads, typed and documented; the only reader of the environment.

A wrong value stops the program with one line that names the variable, the value and what is allowed.
Nothing here opens a connection or looks at the lake.
"""

import os
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from marketing_assets.errors import SettingsError

LONGEST_WINDOW = 120
"""Days that `MARKETING_WINDOW_DAYS` may have at most."""


def _known_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("a name of the IANA time zone database, such as UTC or Europe/Paris")
    return name


_POSTGRES_URL = re.compile(
    r"(postgres|postgresql(\+psycopg2?)?)://"
    r"([^:/@]*(:[^@]*)?@)?"  # user and password
    r"(\[[^]/?]+]|[^/:?@]*)(:[0-9]+)?"  # host and port
    r"/[^/?]+(\?.*)?"  # database and options
)


def _postgres_url(url: str) -> str:
    if not _POSTGRES_URL.fullmatch(url):
        raise ValueError("a URL such as postgresql://user:password@host:5432/database")
    return url


PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]


def _http_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ValueError("a URL such as http://127.0.0.1:3000")
    return url.rstrip("/")


# A comma may also stand inside of an address: only one that another address follows parts two.
_BETWEEN_URLS = re.compile(r"[,\s]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")


def _alert_urls(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_BETWEEN_URLS.split(value.strip().rstrip(","))) if value.strip() else ()


def _known_services(urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if urls:
        from apprise import Apprise

        for place, url in enumerate(urls, start=1):
            if Apprise.instantiate(url.get_secret_value()) is None:
                raise ValueError(f"address {place} of {len(urls)} is none that apprise knows")
    return urls


LEAST_SECRET = 32
"""Bytes that a secret key has at least."""

ALGORITHMS = ("EdDSA", "ES256", "RS256", "HS256")
"""How a token may be signed, at most."""


def _listed(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _known_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in ALGORITHMS]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(ALGORITHMS)}")
    return names


def _origins(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if not re.fullmatch(r"https?://[^\s/*]+", url):
            raise ValueError(f"{url!r} is not an origin such as https://app.example.org")
    return urls


def _long_enough(secret: SecretStr) -> SecretStr:
    if secret.get_secret_value().startswith("change-me"):
        raise ValueError("a secret of your own, not that of an example: openssl rand -hex 32 prints one")
    if len(secret.get_secret_value().encode()) < LEAST_SECRET:
        raise ValueError(f"a secret of at least {LEAST_SECRET} bytes, such as `openssl rand -hex 32` prints")
    return secret


def _rate(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour)", text):
        raise ValueError("a number of calls and a time, such as 600/minute (second, minute or hour)")
    return text


def _limit_storage(url: str) -> str:
    if url != "memory" and not re.fullmatch(r"rediss?://\S+", url):
        raise ValueError("memory, or the address of a Redis such as redis://127.0.0.1:6379/0")
    return url


Secret = Annotated[SecretStr, AfterValidator(_long_enough)]


class Settings(BaseSettings):
    """What the environment (or `.env` in the working directory) says; defaults serve a laptop."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    analysis_hour: int = Field(2, ge=0, le=23, validation_alias="MARKETING_ANALYSIS_HOUR")
    analysis_minute: int = Field(0, ge=0, le=59, validation_alias="MARKETING_ANALYSIS_MINUTE")
    cleanup_hour: int = Field(3, ge=0, le=23, validation_alias="CAMPAIGN_CLEANUP_HOUR")
    cleanup_minute: int = Field(0, ge=0, le=59, validation_alias="CAMPAIGN_CLEANUP_MINUTE")
    timezone: Annotated[str, AfterValidator(_known_timezone)] = Field(
        "UTC", validation_alias="MARKETING_TIMEZONE"
    )
    deadline_hours: int = Field(3, ge=1, le=12, validation_alias="MARKETING_DEADLINE_HOURS")
    start_date: date | None = Field(None, validation_alias="MARKETING_START_DATE")
    database_url: PostgresUrl | None = Field(None, validation_alias="MARKETING_DATABASE_URL", repr=False)
    dagster_database_url: PostgresUrl | None = Field(
        None, validation_alias="MARKETING_DAGSTER_DATABASE_URL", repr=False
    )
    home: Path = Field(Path(".marketing"), validation_alias="MARKETING_HOME")
    lake_path: Path | None = Field(None, validation_alias="MARKETING_LAKE")
    dagster_home_path: Path | None = Field(None, validation_alias="DAGSTER_HOME")
    source: Literal["complete_journey", "simulated", "files", "postgres"] = Field(
        "complete_journey", validation_alias="MARKETING_SOURCE"
    )
    source_url: SecretStr | None = Field(None, validation_alias="MARKETING_SOURCE_URL")
    source_mapping: Path | None = Field(None, validation_alias="MARKETING_SOURCE_MAPPING")
    source_replay: bool = Field(True, validation_alias="MARKETING_SOURCE_REPLAY")
    simulated_users: int = Field(10_000, ge=100, le=100_000_000, validation_alias="MARKETING_SIMULATED_USERS")
    simulated_seed: int = Field(1, ge=0, le=999_999, validation_alias="MARKETING_SIMULATED_SEED")
    policy: Path | None = Field(None, validation_alias="MARKETING_POLICY")
    window_days: int = Field(90, ge=31, le=LONGEST_WINDOW, validation_alias="MARKETING_WINDOW_DAYS")
    retention_days: int = Field(400, le=36_500, validation_alias="MARKETING_RETENTION_DAYS")
    # A night compares its features and patterns with those of the day before.
    feature_retention_days: int = Field(
        35, ge=2, le=36_500, validation_alias="MARKETING_FEATURE_RETENTION_DAYS"
    )
    max_users: int | None = Field(None, ge=1, validation_alias="MARKETING_MAX_USERS")
    max_rejected: Decimal = Field(
        Decimal("0.05"), ge=0, le=1, allow_inf_nan=False, validation_alias="MARKETING_MAX_REJECTED"
    )
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", validation_alias="MARKETING_CURRENCY")
    threads: int | None = Field(None, ge=1, le=256, validation_alias="MARKETING_THREADS")
    memory_limit: str = Field(
        "1GiB", pattern=r"^[1-9][0-9]*(\.[0-9]+)?(MB|GB|MiB|GiB)$", validation_alias="MARKETING_MEMORY_LIMIT"
    )

    alert_urls: Annotated[
        tuple[SecretStr, ...], NoDecode, BeforeValidator(_alert_urls), AfterValidator(_known_services)
    ] = Field((), validation_alias="MARKETING_ALERT_URLS")
    ui_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "http://127.0.0.1:3000", validation_alias="MARKETING_UI_URL"
    )

    jwt_issuer: str = Field("marketing-assets", min_length=1, validation_alias="MARKETING_JWT_ISSUER")
    jwt_audience: str = Field("marketing", min_length=1, validation_alias="MARKETING_JWT_AUDIENCE")
    jwt_algorithms: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_known_algorithms)
    ] = Field((), validation_alias="MARKETING_JWT_ALGORITHMS")
    jwt_keys: str | None = Field(None, validation_alias="MARKETING_JWT_KEYS")
    jwt_secret: Secret | None = Field(None, validation_alias="MARKETING_JWT_SECRET")
    pseudonym_key: Secret | None = Field(None, validation_alias="MARKETING_PSEUDONYM_KEY")
    erasure_key: Secret | None = Field(None, validation_alias="MARKETING_ERASURE_KEY")
    rate_limit: Annotated[str, AfterValidator(_rate)] = Field(
        "600/minute", validation_alias="MARKETING_RATE_LIMIT"
    )
    rate_limit_storage: Annotated[str, AfterValidator(_limit_storage)] = Field(
        "memory", validation_alias="MARKETING_RATE_LIMIT_STORAGE"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_origins)] = (
        Field((), validation_alias="MARKETING_CORS_ORIGINS")
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), validation_alias="MARKETING_TRUSTED_PROXIES"
    )
    sidecar_connections: int = Field(8, ge=1, le=200, validation_alias="MARKETING_SIDECAR_CONNECTIONS")

    @field_validator("retention_days")
    @classmethod
    def _keeps_the_window(cls, days: int, info: ValidationInfo) -> int:
        window = info.data.get("window_days", days)
        if days < window:
            raise ValueError(f"at least the days of the window (MARKETING_WINDOW_DAYS, {window})")
        return days

    @property
    def zone(self) -> ZoneInfo:
        """The zone whose midnights begin and end the business days."""
        return ZoneInfo(self.timezone)

    @property
    def lake(self) -> Path:
        """Directory of the lake, absolute."""
        return (self.lake_path or self.home / "lake").resolve()

    @property
    def dagster_home(self) -> Path:
        """Directory that holds Dagster's instance file, absolute."""
        return (self.dagster_home_path or self.home / "dagster").resolve()

    @property
    def own_dagster_home(self) -> bool:
        """True where the project looks after the instance file itself."""
        return self.dagster_home_path is None or self.dagster_home == (self.home / "dagster").resolve()

    @property
    def embedded_database(self) -> Path:
        """Data directory of the embedded PostgreSQL, absolute."""
        return (self.home / "postgres").resolve()


def load_settings() -> Settings:
    """Read the settings, or say in one line which variable is wrong.

    Raises:
        SettingsError: a variable has a value that is not allowed, or `.env` cannot be read.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise _settings_error(error) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f".env cannot be read: {error}", remedy="make it a readable UTF-8 file of NAME=value lines"
        ) from None


_SAID = {
    "MARKETING_MEMORY_LIMIT": "a size such as 512MB or 1GiB (units MB, GB, MiB and GiB)",
    "MARKETING_CURRENCY": "three capital letters, such as USD or EUR (ISO 4217)",
    "MARKETING_START_DATE": "a day such as 2026-01-31",
    "MARKETING_SOURCE_REPLAY": "true or false",
}
"""What is allowed, where pydantic's own words name a pattern or nothing at all."""


def _settings_error(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "a setting"
    secret = ("URL" in name and name != "MARKETING_UI_URL") or "KEY" in name or "SECRET" in name
    value = "(hidden)" if secret else repr(first["input"])
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "one of")
    if first["type"] != "value_error" and first["loc"]:
        said = _SAID.get(name) or _range(name) or said
    return SettingsError(
        f"{name}={value} is not allowed: {said}",
        remedy=f"correct {name} in the environment or in .env (see .env.example)",
    )


def _range(variable: str) -> str | None:
    """The range of a number, in words; None where the variable has none."""
    field = next(each for each in Settings.model_fields.values() if each.validation_alias == variable)
    least, most = (
        next((getattr(each, end) for each in field.metadata if hasattr(each, end)), None)
        for end in ("ge", "le")
    )
    kind = "a number" if field.annotation is Decimal else "a whole number"
    if most is None:
        return None if least is None else f"{kind}, at least {least}"
    return f"{kind}, at most {most}" if least is None else f"{kind} from {least} to {most}"


def export_environment(values: dict[str, str]) -> None:
    """Set variables for this process and the processes it starts (Dagster's own files read them)."""
    os.environ.update(values)
