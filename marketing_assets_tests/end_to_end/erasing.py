"""Runs the job `erasure` in a process of its own and kills it, as `kill -9` would, at a named point.

Usage: python -m marketing_assets_tests.end_to_end.erasing POINT, with the settings in the environment.
A point is one of the killer's (`before:<dataset>`, `after:<dataset>`), or `erasures:<function>` (when that
step is done, before the commit).
"""

import sys

import dagster as dg

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.jobs import ERASURE
from marketing_assets.settings import load_settings
from marketing_assets.storage.repositories import erasures
from marketing_assets_tests.end_to_end import killer

POINTS = [
    *(
        f"{when}:{dataset}"
        for dataset in ("transactions", "campaign_targets")
        for when in ("before", "after")
    ),
    "after:rejected_transactions",
    "after:archived_targets",
    "erasures:note_found",
    "erasures:remove",
    "erasures:record_erased",
]


def main() -> None:
    killer.MODULES["erasures"] = erasures
    killer.install(sys.argv[1])
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(load_settings()).resolve_job_def(ERASURE)
        job.execute_in_process(instance=instance)


if __name__ == "__main__":
    main()
