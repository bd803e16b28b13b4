"""Alerts: what they say, and how they reach people by any service that `apprise` knows.

No alert holds a user id or a secret. Delivery never raises: a service that does not answer is said in the
log, where the whole alert stands in any case.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date
from typing import Literal

from pydantic import SecretStr

from marketing_assets.orchestration.failures import RunFailure
from marketing_assets.settings import Settings

_ANSWER_SECONDS = 8.0
"""How long a service may take; five failed runs in one tick still fit into its minute."""

_SHOWN = 600
_LISTED = 10


@dataclass(frozen=True)
class Alert:
    """One message to the people on call."""

    title: str
    body: str
    level: Literal["failure", "warning"] = "failure"


@dataclass(frozen=True)
class FailedWarning:
    """A check of severity WARN that failed: of which asset, for which day or range, and its figures."""

    asset: str
    check: str
    day: str
    run_id: str
    shown: str

    @property
    def key(self) -> str:
        """What is alerted about once."""
        return f"{self.asset}/{self.check}/{self.day}"


class Alerts:
    """Sends alerts to the services of `MARKETING_ALERT_URLS`; none set, they are in the log alone."""

    def __init__(self, settings: Settings) -> None:
        self._urls = settings.alert_urls
        self._ui_url = settings.ui_url

    def run_address(self, run_id: str) -> str:
        """Where people see a run."""
        return f"{self._ui_url}/runs/{run_id}"

    def send(self, alert: Alert, log: logging.Logger) -> int:
        """Log the alert and send it to every service; returns how many took it."""
        log.error(f"ALERT {alert.title}\n{alert.body}")
        if not self._urls:
            return 0
        executor = ThreadPoolExecutor(len(self._urls), thread_name_prefix="alert")
        sent = [executor.submit(_deliver, url, alert) for url in self._urls]
        wait(sent, timeout=_ANSWER_SECONDS)
        executor.shutdown(wait=False, cancel_futures=True)
        reasons = [each.result() if each.done() else "no answer in time" for each in sent]
        for place, reason in enumerate(reasons, start=1):
            if reason is not None:
                log.error(
                    f"The alert {alert.title!r} could not be delivered to service {place} of {len(reasons)} "
                    f"in MARKETING_ALERT_URLS: {reason}. Correct its address, or see that it is up."
                )
        return reasons.count(None)


def _deliver(url: SecretStr, alert: Alert) -> str | None:
    """None where the service took the alert, else why not, without anything of the address."""
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

    for name in ("apprise", "urllib3"):  # they may quote the address, which holds its secrets
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    kind = NotifyType.FAILURE if alert.level == "failure" else NotifyType.WARNING
    try:
        asset = AppriseAsset(app_id="marketing_assets", app_desc="marketing_assets", app_url="")
        service = Apprise.instantiate(url.get_secret_value(), asset=asset)
        if service is None:
            return "apprise does not know it"
        took = service.notify(
            title=alert.title, body=alert.body, notify_type=kind, body_format=NotifyFormat.TEXT
        )
    except Exception as error:  # whatever a service's plugin does must not stop what alerts
        return type(error).__name__
    return None if took else f"{service.service_name} refused it or does not answer"


def run_failed(job: str, tags: Mapping[str, str], failure: RunFailure, address: str) -> Alert:
    """The alert of a run that failed and will not be started again by itself."""
    partition = partition_of(tags)
    said = failure.without_data()
    lines = {
        "job": job,
        "partition": partition or "none",
        "step": said.step or "none: the run itself failed",
        "error": _cut(said.error),
        "what to do": _cut(said.remedy or "see the run"),
        "run": address,
    }
    return Alert(f"{job} failed" + (f" for {partition}" if partition else ""), _listed(lines))


def warnings_failed(found: Sequence[FailedWarning], addresses: Mapping[str, str]) -> Alert:
    """One alert of all warnings that failed since the last look."""
    first = found[0]
    title = f"{first.asset}: the check {first.check} warns for {first.day}"
    if len(found) > 1:
        title = f"{len(found)} checks warn, the first of them {first.check} of {first.asset} for {first.day}"
    lines = []
    for each in found[:_LISTED]:
        lines += [
            f"{each.asset}, {each.check}, {each.day}: {_cut(each.shown)}",
            f"  run: {addresses[each.run_id]}",
        ]
    if len(found) > _LISTED:
        lines.append(f"and {len(found) - _LISTED} more: see the checks of these assets in the UI")
    lines.append(
        "what to do: the night was published all the same; see whether the source's data is right for the "
        "day, and if not, correct it there and run the day again"
    )
    return Alert(title, "\n".join(lines), "warning")


def night_not_published(day: date, found: str, remedy: str, address: str | None) -> Alert:
    """The alert of a morning whose night is not there; `found` is what is there instead."""
    lines = {"day": day.isoformat(), "found": _cut(found), "what to do": remedy}
    if address is not None:
        lines["run"] = address
    return Alert(f"the night of {day} is not published", _listed(lines))


def partition_of(tags: Mapping[str, str]) -> str | None:
    """The day of a run, or its range of days; None where it has none."""
    first = tags.get("dagster/asset_partition_range_start")
    last = tags.get("dagster/asset_partition_range_end")
    if first is not None and last is not None:
        return first if first == last else f"{first} to {last}"
    return tags.get("dagster/partition")


def _listed(lines: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _cut(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _SHOWN else one_line[: _SHOWN - 1] + "…"
