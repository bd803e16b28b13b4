"""The lake: Parquet files, one directory a dataset, one partition a day, one file a partition.

A partition appears whole or not at all: it is written under a temporary name, synced and renamed,
and what stood there before stays until that instant. What the lake was made with is recorded in it;
anything else is refused. No SQL of the steps and no knowledge of PostgreSQL here.
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlglot import exp

from marketing_assets.engine.base import Engine
from marketing_assets.errors import LakeError, MissingPartitionError
from marketing_assets.storage.datasets import Dataset

_PART = "part-0.parquet"
_SCRATCH = ".scratch"
_NAMED_DAYS = 3


@dataclass(frozen=True)
class Written:
    """One partition as it now stands: rows, bytes, and the digest that is its data version."""

    rows: int
    bytes: int
    digest: str


class Lake:
    """Reads and writes partitions below `root`.

    `guard` is called before every rename and raises where this process may no longer write.
    """

    def __init__(self, root: Path, guard: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self._guard = guard

    @property
    def scratch(self) -> Path:
        """This process's directory for temporary files, on the lake's own file system; made when missing.

        Raises:
            LakeError: it cannot be made.
        """
        return _made(self.root / _SCRATCH / f"{platform.node()}-{os.getpid()}")

    def clear_scratch(self) -> None:
        """Remove the temporary files of processes of this machine that are gone."""
        for directory in (self.root / _SCRATCH).glob(f"{platform.node()}-*"):
            process = directory.name.rpartition("-")[2]
            if process.isdigit() and not _is_alive(int(process)):
                shutil.rmtree(directory, ignore_errors=True)

    def remove_scratch(self) -> None:
        """Remove this process's temporary files."""
        shutil.rmtree(self.root / _SCRATCH / f"{platform.node()}-{os.getpid()}", ignore_errors=True)

    def path(self, dataset: Dataset, day: date) -> Path:
        """File of one partition, whether it exists or not."""
        return self.root / dataset.name / f"day={day.isoformat()}" / _PART

    def days(self, dataset: Dataset) -> list[date]:
        """Days that have a partition, ascending."""
        found = (self.root / dataset.name).glob(f"day=*/{_PART}")
        return sorted(date.fromisoformat(file.parent.name.removeprefix("day=")) for file in found)

    def register(self, engine: Engine, relation: str, dataset: Dataset, days: Sequence[date]) -> None:
        """Name the rows of the partitions of `days`, with their `day`.

        Raises:
            MissingPartitionError: a partition was never made.
        """
        missing = self.missing(dataset, days)
        if missing:
            raise MissingPartitionError(
                f"{dataset.name} has no partition for {_listed(missing)} in {self.root}",
                remedy=f"make them first: marketing backfill --from {missing[0]} --to {missing[-1]}, or in "
                "the UI launch ingest_range (transactions) or behaviour_range (features and patterns) for "
                "these days",
            )
        schema = [(column.name, column.type) for column in dataset.columns]
        engine.register_files(relation, [self.path(dataset, day) for day in days], schema)

    def missing(self, dataset: Dataset, days: Sequence[date]) -> list[date]:
        """Those of `days` that have no partition, in the order given."""
        return [day for day in days if not self.path(dataset, day).exists()]

    def write(
        self,
        engine: Engine,
        dataset: Dataset,
        day: date,
        relation: str,
        where: exp.Expr | None = None,
        replacing: Callable[[], None] = lambda: None,
    ) -> Written:
        """Replace one partition by the rows of `relation` (those where `where` holds).

        `replacing` is called before other rows take the place of what stands; not where nothing stands,
        or the same.

        Raises:
            LakeError: the partition cannot be written; the old one stands.
        """
        columns = [
            exp.alias_(exp.cast(exp.column(column.name), column.type, dialect="duckdb"), column.name)
            for column in dataset.columns
        ]
        query = exp.select(*columns).from_(relation).order_by(*(exp.column(name) for name in dataset.order))
        if where is not None:
            query = query.where(where)
        temporary = self.scratch / f"{dataset.name}-{day}.parquet"
        try:
            rows = engine.write_parquet(query, None, temporary)
            written = Written(rows, temporary.stat().st_size, _digest(temporary))
            target = self.path(dataset, day)
            if _holds_other(target, written.digest):
                replacing()
            self._publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return written

    def remove(self, dataset: Dataset, day: date) -> int:
        """Remove one partition; returns the bytes that it had, 0 where there is none.

        Raises:
            LakeError: it cannot be removed.
        """
        file = self.path(dataset, day)
        self._guard()
        try:
            size = file.stat().st_size
            file.unlink()
            file.parent.rmdir()
            _synced(file.parent.parent)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _unwritable(file, error) from error
        return size

    def _publish(self, temporary: Path, target: Path) -> None:
        try:
            _synced(temporary)
            _made(target.parent)
            self._guard()
            os.replace(temporary, target)
            for directory in (target.parent, target.parent.parent):
                _synced(directory)
        except OSError as error:
            raise _unwritable(target, error) from error


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:_NAMED_DAYS])
    more = len(days) - _NAMED_DAYS
    return shown if more <= 0 else f"{shown} and {more} more days"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _holds_other(file: Path, digest: str) -> bool:
    """Whether the file can be read and has another content."""
    try:
        return _digest(file) != digest
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _made(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory


def _unwritable(path: Path, error: OSError) -> LakeError:
    return LakeError(
        f"the lake cannot be written at {path}: {error.strerror or error}",
        remedy="make the directory writable and free space on its disk, or set MARKETING_LAKE to another "
        "one; what was there before is untouched",
    )
