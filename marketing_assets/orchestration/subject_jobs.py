"""The jobs `export` and `erasure`: what is held about users is handed out, or removed, as they asked.

Each does all who have asked by the time it begins, in one pass under the writer lock, and writes the end of
their requests itself. What is done is `storage/exporting.py`'s and `storage/erasure.py`'s part; neither a run
nor its log ever names a user.
"""

import dagster as dg

from marketing_assets.orchestration.attempts import attempt
from marketing_assets.orchestration.jobs import ERASURE, EXPORT
from marketing_assets.orchestration.metadata import Stopwatch, markdown_table
from marketing_assets.orchestration.platform import Platform, platform_resource
from marketing_assets.settings import Settings


def build_subject_jobs(settings: Settings) -> list[dg.JobDefinition]:
    """Both jobs for these settings."""
    tags = {"trigger": "ui", "source": settings.source}
    # Of their own: Dagster would put a new sensor in the place of one whose jobs still lack theirs.
    resources = {"platform": platform_resource(settings)}

    @dg.job(
        name=EXPORT,
        executor_def=dg.in_process_executor,
        tags=tags,
        resource_defs=resources,
        description="Everything that is held about each user who has asked for it, as one JSON document.",
    )
    def export() -> None:
        export_users()

    @dg.job(
        name=ERASURE,
        executor_def=dg.in_process_executor,
        tags=tags,
        resource_defs=resources,
        description="Each user who has asked for it leaves every partition of the lake and every table. What "
        "a run that was cut off left undone, the next one does.",
    )
    def erasure() -> None:
        erase_users()

    return [export, erasure]


@dg.op(description="All who have asked, in one pass; the documents are in the table `exports` alone.")
def export_users(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    """Export everybody who has asked for it."""
    from marketing_assets.storage.exporting import export

    watch = Stopwatch()
    with attempt(context, platform):
        made = export(
            platform.writer,
            platform.engine,
            platform.lake,
            run_id=context.run.run_id,
            currency=platform.settings.currency,
            now=platform.now(),
        )
        context.add_output_metadata({"documents": made, "seconds": watch.seconds})


@dg.op(description="All who have asked, in one pass: first the lake, then the tables in one transaction.")
def erase_users(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    """Erase everybody who has asked for it."""
    from marketing_assets.storage.erasure import erase

    watch = Stopwatch()
    with attempt(context, platform):
        erased = erase(platform.writer, platform.engine, platform.lake, context.run.run_id, platform.now())
        removed = [(name, f"{rows:,}") for name, rows in [*erased.lake.items(), *erased.tables.items()]]
        context.add_output_metadata(
            {
                "users": erased.users,
                "partitions": sum(erased.partitions.values()),
                "rows": sum(erased.lake.values()) + sum(erased.tables.values()),
                "rewritten": markdown_table(["dataset", "partitions"], list(erased.partitions.items())),
                "removed": markdown_table(["dataset or table", "rows"], removed),
                "seconds": watch.seconds,
            }
        )
