"""Why a run failed, read from its events: the step, the error and what to do.

For the command's last line, for alerts and for rows of `requests`. An error with a remedy is the
project's own and holds no user's data; of any other, what it says stays in the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.events import DagsterEvent

_LEFT_IN_RUN = "read the step's error in the run; run it again once its cause is gone"
_NOT_BY_A_STEP = (
    "see that the machine and PostgreSQL are up and have memory and disk space, then run it again"
)
_SHOWN = 300


@dataclass(frozen=True)
class RunFailure:
    """What ended a run: the step (None: the run itself), the error, what to do.

    `private` is true where the error is not the project's own: it may quote data and is for the run alone.
    """

    step: str | None
    error: str
    remedy: str | None
    private: bool = False

    @property
    def text(self) -> str:
        """The error and its remedy as an error of the project says them, whole: for the person who ran it."""
        return self.error if self.remedy is None else f"{self.error}\n  What to do: {self.remedy}"

    def without_data(self) -> "RunFailure":
        """The same, fit for alerts and for the app: nothing that may quote a user."""
        if not self.private:
            return self
        kind = self.error.split(":", 1)[0].split("\n", 1)[0].strip()
        named = kind if kind.replace(".", "").replace("_", "").isalnum() else "an error"
        return RunFailure(self.step, f"{named[:_SHOWN]} (what it says is in the run)", self.remedy)


def failure_of_run(instance: "dg.DagsterInstance", run_id: str) -> RunFailure:
    """Why a run that failed did, from what the instance keeps of it."""
    from dagster import DagsterEventType

    wanted = {
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.RUN_FAILURE,
    }
    records = instance.get_records_for_run(run_id, of_type=wanted).records
    return failure_of([each.event_log_entry.get_dagster_event() for each in records])


def failure_of(events: "Sequence[DagsterEvent]") -> RunFailure:
    """What ended the run: the failure's own words where it has some, else the innermost error."""
    for event in events:
        if event.event_type_value == "STEP_FAILURE":
            step, data = str(event.step_key), event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                error, _, remedy = data.user_failure_data.description.partition("\n  What to do: ")
                return RunFailure(step, error, remedy or None)
            failed = _failed_check(events, step)
            return failed or RunFailure(step, _innermost(data.error), _LEFT_IN_RUN, private=True)
    for event in events:
        cause = getattr(event.event_specific_data, "error", None)
        if cause is not None:
            return RunFailure(None, _innermost(cause), _NOT_BY_A_STEP, private=True)
    for event in events:
        if event.event_type_value == "PIPELINE_FAILURE" and event.message:
            return RunFailure(None, event.message, _NOT_BY_A_STEP)  # Dagster's: the process died, and such
    return RunFailure(None, "no error was recorded", "see the run in the UI")


def _failed_check(events: "Sequence[DagsterEvent]", step: str) -> RunFailure | None:
    """The blocking check that stopped a step: what was observed, the limit, how to list the rows."""
    for event in events:
        if event.event_type_value == "ASSET_CHECK_EVALUATION" and event.step_key == step:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                shown = {name: value.value for name, value in check.metadata.items()}
                return RunFailure(
                    step,
                    f"the check {check.check_name} of {check.asset_key.to_user_string()} failed: "
                    f"observed {shown.get('observed')}, limit {shown.get('limit')}",
                    f"list the rows with {shown.get('how_to_list')}",
                )
    return None


def _innermost(error: object) -> str:
    cause = getattr(error, "cause", None)
    if cause is not None:
        return _innermost(cause)
    return str(getattr(error, "message", error)).strip().removeprefix("marketing_assets.errors.")
