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

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from marketing_assets.errors import SettingsError


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


class Settings(BaseSettings):
    """What the environment (or `.env` in the working directory) says; defaults serve a laptop."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    analysis_hour: int = Field(2, ge=0, le=23, validation_alias="MARKETING_ANALYSIS_HOUR")
    analysis_minute: int = Field(0, ge=0, le=59, validation_alias="MARKETING_ANALYSIS_MINUTE")
    timezone: Annotated[str, AfterValidator(_known_timezone)] = Field(
        "UTC", validation_alias="MARKETING_TIMEZONE"
    )
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
    window_days: int = Field(90, ge=31, le=120, validation_alias="MARKETING_WINDOW_DAYS")
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


def _settings_error(error: ValidationError) -> SettingsError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "a setting"
    secret = "URL" in name or "KEY" in name
    value = "(hidden)" if secret else repr(first["input"])
    said = first["msg"].removeprefix("Value error, ")
    return SettingsError(
        f"{name}={value} is not allowed: {said}",
        remedy=f"correct {name} in the environment or in .env (see .env.example)",
    )


def export_environment(values: dict[str, str]) -> None:
    """Set variables for this process and the processes it starts (Dagster's own files read them)."""
    os.environ.update(values)
