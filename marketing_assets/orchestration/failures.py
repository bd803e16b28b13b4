"""Why a run failed, read from its events: the step, the error, what to do, and whether it can pass by itself.

For the command's last line, for alerts and for rows of `requests`. An error with a remedy is the
project's own and holds no user's data; of any other, what it says stays in the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from marketing_assets.errors import MarketingError, UnavailableError, WriterLockError

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.events import DagsterEvent

TRANSIENT = "transient"
"""Metadata of a step's failure: whether the same run may well succeed a quarter of an hour later."""

_LEFT_IN_RUN = "read the step's error in the run; run it again once its cause is gone"
_NOT_BY_A_STEP = (
    "see that the machine and PostgreSQL are up and have memory and disk space, then run it again"
)
_SHOWN = 300
_UNAVAILABLE = f"{UnavailableError.__name__}: "
_DISK_FULL = "No space left on device"
_DISK_FULL_STATE = "53100"
_DAGSTER_S_DATABASE = "psycopg2.OperationalError"
"""Only Dagster's own storage talks to PostgreSQL by this driver; while it is away, no run can go on."""


@dataclass(frozen=True)
class RunFailure:
    """What ended a run: the step (None: the run itself), the error, what to do.

    `private` is true where the error is not the project's own: it may quote data and is for the run alone.
    `transient`: the cause can pass without anybody (a server or a disk, or the process was killed), so
    that the run may be tried again later; never where the data or the settings are wrong.
    """

    step: str | None
    error: str
    remedy: str | None
    private: bool = False
    transient: bool = False

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
        said = f"{named[:_SHOWN]} (what it says is in the run)"
        return replace(self, error=said, private=False)


def can_pass(error: MarketingError) -> bool:
    """Whether the cause can pass without anybody: what is transient, another writer, a disk that is full."""
    return error.transient or isinstance(error, WriterLockError) or _is_disk_full(error)


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if _DISK_FULL in str(error) or getattr(error, "sqlstate", None) == _DISK_FULL_STATE:
            return True
        error = error.__cause__
    return False


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
                noted = data.user_failure_data.metadata.get(TRANSIENT)
                return _own(
                    step,
                    data.user_failure_data.description,
                    transient=noted is not None and bool(noted.value),
                )
            return _failed_check(events, step) or _others(step, _innermost(data.error), _LEFT_IN_RUN)
    for event in events:
        cause = getattr(event.event_specific_data, "error", None)
        if cause is not None:
            said = _innermost(cause)
            if said.startswith(_UNAVAILABLE):
                return _own(None, said.removeprefix(_UNAVAILABLE), transient=True)
            return _others(None, said, _NOT_BY_A_STEP)
    for event in events:
        if event.event_type_value == "PIPELINE_FAILURE" and event.message:
            # Dagster's own words: the process died, or was never started.
            return RunFailure(None, event.message, _NOT_BY_A_STEP, transient=True)
    return RunFailure(None, "no error was recorded", "see the run in the UI")


def _own(step: str | None, description: str, *, transient: bool) -> RunFailure:
    """What an error of the project says."""
    error, _, remedy = description.partition("\n  What to do: ")
    return RunFailure(step, error, remedy or None, transient=transient)


def _others(step: str | None, error: str, remedy: str) -> RunFailure:
    """What any other error says."""
    return RunFailure(step, error, remedy, private=True, transient=_DAGSTER_S_DATABASE in error)


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
