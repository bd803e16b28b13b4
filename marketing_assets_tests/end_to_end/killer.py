"""Runs the `marketing` command and kills it, as `kill -9` would, at a named point of the night.

Usage: python -m marketing_assets_tests.end_to_end.killer POINT marketing-arguments...
A point is `before:<dataset>` or `after:<dataset>` (the rename of a partition) or `publish:<function>`
(when that step of publishing is done, before its commit); `archive:<function>` and `retention:<function>` are
likewise of the clean-up. `wait:<dataset>` stops at the
rename until the file `go` appears beside the lake, for tests with two writers; `hold:<dataset>` stops before
the partition is written until `go-<dataset>` does.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from marketing_assets import cli
from marketing_assets.engine.base import Engine
from marketing_assets.storage import archive, lake, publish, retention
from marketing_assets.storage.datasets import Dataset

DATASETS = (
    "transactions",
    "rejected_transactions",
    "user_features",
    "user_patterns",
    "segment_summary",
    "settled_rewards",
    "campaigns",
    "campaign_targets",
    "targeting_decisions",
)
PUBLISHING = ("empty_free_slot", "insert_targets", "_replace_summary", "replace_segments", "_record")
CLEANUP_POINTS = [
    "archive:expire",
    "before:archived_targets",
    "after:archived_targets",
    "before:archived_events",
    "after:archived_rewards",
    "archive:_compare",
    "archive:_remove",
    "archive:_archive_day",
    "retention:_of",
]
MODULES = {"publish": publish, "archive": archive, "retention": retention}
POINTS = [
    *(f"{when}:{dataset}" for dataset in DATASETS for when in ("before", "after")),
    *(f"publish:{function}" for function in PUBLISHING),
]


@dataclass
class Killed:
    """Where `once` is set, that file is made by the first kill, and there is no second."""

    once: Path | None = None


killed = Killed()


def die() -> None:
    if killed.once is not None:
        if killed.once.exists():
            return
        killed.once.touch()
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_rename(when: str, dataset: str) -> None:
    rename = os.replace

    def replaced(source: Any, target: Any) -> None:
        here = dataset in Path(target).parts
        if here and when == "before":
            die()
        if here and when == "wait":
            wait_for(Path(target).parents[3], "waiting", "go")
        rename(source, target)
        if here and when == "after":
            die()

    lake.os.replace = replaced  # type: ignore[attr-defined]


def hold_before_write(name: str) -> None:
    write = lake.Lake.write

    def held(
        self: lake.Lake, engine: Engine, dataset: Dataset, *arguments: Any, **named: Any
    ) -> lake.Written:
        if dataset.name == name:
            wait_for(self.root.parent, f"waiting-{name}", f"go-{name}")
        return write(self, engine, dataset, *arguments, **named)

    lake.Lake.write = held  # type: ignore[method-assign]


def wait_for(directory: Path, says: str, until: str) -> None:
    (directory / says).touch()
    while not (directory / until).exists():
        time.sleep(0.05)


def kill_after(module: ModuleType, function: str) -> None:
    original: Callable[..., Any] = getattr(module, function)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        die()

    setattr(module, function, wrapped)


def install(point: str) -> None:
    """Put the fault into this process."""
    when, name = point.split(":")
    if when in MODULES:
        kill_after(MODULES[when], name)
    elif when == "hold":
        hold_before_write(name)
    else:
        kill_at_rename(when, name)


def main() -> None:
    install(sys.argv[1])
    sys.argv = ["marketing", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
