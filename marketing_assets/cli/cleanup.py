"""`marketing cleanup`: the 03:00 job, now, in this process."""

from marketing_assets.cli.console import Progress
from marketing_assets.cli.nights import refuse_failed
from marketing_assets.orchestration.assets import cleanup
from marketing_assets.orchestration.jobs import CLEANUP
from marketing_assets.orchestration.running import Runner
from marketing_assets.policy.load import load_policy
from marketing_assets.settings import Settings
from marketing_assets.storage.datasets import ARCHIVED_TARGETS


def clean_up(settings: Settings, progress: Progress) -> list[str]:
    """Run the job; what it did, a line each.

    Raises:
        RunFailedError: a step failed; what the others did stands.
    """
    load_policy(settings.policy, settings.window_days)
    progress("starting PostgreSQL and Dagster")
    runner = Runner(settings, progress)
    try:
        report = runner.run_once(CLEANUP, {"trigger": "command"})
    finally:
        runner.close()
    refuse_failed(report, "the clean-up")
    return _said(report.figures)


def _said(figures: dict[str, dict[str, float]]) -> list[str]:
    archived, retention = figures[ARCHIVED_TARGETS.name], figures[cleanup.RETENTION]
    vacuumed, storage = figures[cleanup.VACUUMED], figures[cleanup.DAGSTER]
    answers = figures[cleanup.ANSWERS]
    return [
        f"Expired {figures[cleanup.EXPIRED]['expired']:,} campaigns.",
        f"Archived {archived['archived']:,} campaigns with {archived['rows']:,} targets.",
        f"Removed {retention['partitions_removed']:,} partitions of the lake ({_size(retention['bytes'])}).",
        f"Vacuumed {vacuumed['tables']:,} tables; the serving tables take {_size(vacuumed['bytes'])}.",
        f"Forgot {answers['exports']:,} exports and {answers['idempotency_keys']:,} answers to calls.",
        f"Removed {storage['events_purged']:,} events and {storage['ticks_purged']:,} ticks of Dagster; "
        f"its database takes {_size(storage['bytes'])}.",
    ]


def _size(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
