"""The protocol of a source, and the mapping of a source's columns to ours. No source lives here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sqlglot import exp

from marketing_assets.engine.base import Engine
from marketing_assets.errors import SourceError

REQUIRED_COLUMNS = ("transaction_id", "user_id", "occurred_at", "amount")
OPTIONAL_COLUMNS = ("merchant", "location", "category", "updated_at")
SOURCE_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)


class Source(Protocol):
    """Gives the transactions of a stretch of time. Grain: one row of the source, as it stands there."""

    @property
    def name(self) -> str:
        """What the lake records and messages say, such as `files`."""

    @property
    def zone(self) -> ZoneInfo:
        """Zone of times that are written without an offset."""

    @property
    def has_update_time(self) -> bool:
        """Whether rows say when they were last changed; known once `load` has returned."""

    def load(self, engine: Engine, relation: str, start_at: datetime, end_at: datetime) -> None:
        """Name as `relation` the source's rows: the columns `SOURCE_COLUMNS`, any type, null where missing.

        Among them are all rows whose time lies in [start_at, end_at), and all whose time is null or
        unreadable; of those, a source with update times may leave out the ones whose update time is
        readable and outside. There may be others: ingest filters again. The rows may be read only
        when the relation is.

        Raises:
            SourceError: the source is unreachable, lacks a table or column, or cannot be read.
        """

    def now(self) -> datetime:
        """The instant it is by the clock that stamps the rows: what is changed later is not read yet.

        Raises:
            SourceError: the source is unreachable.
        """

    def changed_days(
        self, engine: Engine, first: date, last: date, zone: ZoneInfo, since: datetime
    ) -> "list[DayCount] | None":
        """The days from `first` to `last` with rows that were changed at `since` or later, ascending.

        Rows are placed on business days in `zone` as ingestion does; those whose update time has not come
        yet, by `now`, are counted apart. None where the source has no update time.

        Raises:
            SourceError: as `load`; or the source takes too long.
        """

    def counted_days(self, engine: Engine, first: date, last: date, zone: ZoneInfo) -> "list[DayCount]":
        """How many rows each day from `first` to `last` has now, as ingestion reads them, ascending.

        Days without a row are left out.

        Raises:
            SourceError: as `load`; or the source takes too long.
        """


@dataclass(frozen=True)
class DayCount:
    """Rows of the source on one business day, and when the newest of them was changed.

    `future` are rows beside them whose update time has not come yet.
    """

    day: date
    rows: int
    changed_at: datetime | None
    future: int = 0


class ColumnNames(BaseModel):
    """What the source calls our columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transaction_id: str = Field(min_length=1)
    user_id: str = Field(min_length=1)
    occurred_at: str = Field(min_length=1)
    amount: str = Field(min_length=1)
    merchant: str | None = None
    location: str | None = None
    category: str | None = None
    updated_at: str | None = None


class ColumnMapping(BaseModel):
    """The YAML file of `MARKETING_SOURCE_MAPPING`; without one, the source uses our own names.

    `columns` is None where no file was given: then optional columns are used where the source has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str | None = Field(None, min_length=1)
    query: str | None = Field(None, min_length=1)
    columns: ColumnNames | None = None
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("not in the IANA time zone database; use a name such as UTC or Europe/Paris")
        return name

    @model_validator(mode="after")
    def _one_of_both(self) -> "ColumnMapping":
        if self.table is not None and self.query is not None:
            raise ValueError("give either table or query, not both")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """Zone of times that are written without an offset."""
        return ZoneInfo(self.timezone)

    def resolved(self, existing: Sequence[str], source: str, place: str) -> dict[str, str | None]:
        """The source's column for each of ours, None where there is none.

        Raises:
            SourceError: a named or required column is not among `existing`, the columns of `place`.
        """
        if self.columns is None:
            wanted = {
                name: name if name in REQUIRED_COLUMNS or name in existing else None
                for name in SOURCE_COLUMNS
            }
        else:
            wanted = {name: getattr(self.columns, name) for name in SOURCE_COLUMNS}
        for ours, theirs in wanted.items():
            if theirs is not None and theirs not in existing:
                raise SourceError(
                    f"{source} source: {place} has no column {theirs!r} (for {ours})",
                    remedy=f"name the right column in the file of MARKETING_SOURCE_MAPPING; "
                    f"{place} has {', '.join(existing) or 'no columns'}",
                )
        return wanted


def load_mapping(path: Path | None) -> ColumnMapping:
    """Read a mapping file; None gives the identity mapping.

    Raises:
        SourceError: the file cannot be read, has an unknown key, or lacks a required column.
    """
    if path is None:
        return ColumnMapping()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(
            f"the source mapping {path} cannot be read: {' '.join(str(error).split())}",
            remedy="point MARKETING_SOURCE_MAPPING to a readable YAML file",
        ) from None
    try:
        mapping = ColumnMapping.model_validate(content)
    except ValidationError as error:
        raise _mapping_error(path, error) from None
    if mapping.columns is None:
        raise SourceError(
            f"the source mapping {path} has no key columns",
            remedy=f"add columns: with at least {', '.join(REQUIRED_COLUMNS)}",
        )
    return mapping


def _mapping_error(path: Path, error: ValidationError) -> SourceError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    said = {"missing": "is missing", "extra_forbidden": "is not a known key"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    return SourceError(
        f"the source mapping {path} is wrong: {place} {said}",
        remedy=f"keys are table or query, timezone, and columns with {', '.join(REQUIRED_COLUMNS)} "
        f"and where the source has them {', '.join(OPTIONAL_COLUMNS)}",
    )


def projection(columns: Mapping[str, str | None]) -> list[exp.Expr]:
    """Select list that gives the source's columns our names, and null for those it lacks."""
    return [
        exp.alias_(exp.null() if theirs is None else exp.column(theirs, quoted=True), ours)
        for ours, theirs in columns.items()
    ]
