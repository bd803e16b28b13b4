"""Runs the `marketing` command and kills it, as `kill -9` would, at a named point of the night.

Usage: python -m marketing_assets_tests.end_to_end.killer POINT marketing-arguments...
A point is `before:<dataset>` or `after:<dataset>` (the rename of a partition) or `publish:<function>`
(when that step of publishing is done, before its commit); `archive:<function>` and `retention:<function>` are
likewise of the clean-up. `wait:<dataset>` stops at the
rename until a file of that name appears beside the lake, for tests with two writers.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from marketing_assets import cli
from marketing_assets.storage import archive, lake, publish, retention

DATASETS = (
    "transactions",
    "rejected_transactions",
    "user_features",
    "user_patterns",
    "segment_summary",
    "campaigns",
    "campaign_targets",
    "targeting_decisions",
)
PUBLISHING = ("empty_free_slot", "insert_targets", "_replace_summary", "replace_segments", "_record")
CLEANUP_POINTS = [
    "archive:expire",
    "before:archived_targets",
    "after:archived_targets",
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


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_rename(when: str, dataset: str) -> None:
    rename = os.replace

    def replaced(source: Any, target: Any) -> None:
        here = dataset in Path(target).parts
        if here and when == "before":
            die()
        if here and when == "wait":
            wait_for(Path(target).parents[3] / "go")
        rename(source, target)
        if here and when == "after":
            die()

    lake.os.replace = replaced  # type: ignore[attr-defined]


def wait_for(file: Path) -> None:
    file.with_name("waiting").touch()
    while not file.exists():
        time.sleep(0.05)


def kill_after(module: ModuleType, function: str) -> None:
    original: Callable[..., Any] = getattr(module, function)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        die()

    setattr(module, function, wrapped)


def main() -> None:
    when, name = sys.argv[1].split(":")
    if when in MODULES:
        kill_after(MODULES[when], name)
    else:
        kill_at_rename(when, name)
    sys.argv = ["marketing", *sys.argv[2:]]
    cli.main()


if __name__ == "__main__":
    main()
