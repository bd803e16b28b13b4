"""Removes partitions of the lake that are past their retention, by the days of `domain/retention.py`."""

from dataclasses import dataclass
from datetime import date

from marketing_assets.domain.retention import Kept
from marketing_assets.storage.datasets import DATASETS, Dataset
from marketing_assets.storage.lake import Lake


@dataclass(frozen=True)
class Removed:
    """Partitions of one dataset that went: their days, ascending, and their bytes."""

    dataset: str
    days: list[date]
    bytes: int


def remove_old_partitions(lake: Lake, kept: Kept) -> list[Removed]:
    """Remove every partition before the first day kept, oldest first; returns what went, by dataset.

    Raises:
        WriterLockError: the lock was lost; what was removed before stays removed.
        LakeError: a partition cannot be removed.
    """
    return [_of(lake, dataset, getattr(kept, dataset.retention)) for dataset in DATASETS.values()]


def _of(lake: Lake, dataset: Dataset, first: date) -> Removed:
    days = [day for day in lake.days(dataset) if day < first]
    return Removed(dataset.name, days, sum(lake.remove(dataset, day) for day in days))
