"""Why a user got what: one row of the log of decisions in plain sentences.

From the row alone: what the step read is kept in it. Reading the log is not done here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class LoggedDecision:
    """One row of `targeting_decisions`; `reason` and `detail` are what its JSON says."""

    day: date
    campaign_id: str
    outcome: str
    reason: Mapping[str, object]
    detail: Mapping[str, object]
    bucket_digits: str | None
    policy_version: str


def explained(decision: LoggedDecision) -> str:
    """What was decided and why, in two sentences: which values qualified the user, and what came of it."""
    values = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in decision.reason.items())
    qualified = f"Qualified with {values}." if values else "Qualified as every user does."
    return f"{qualified} {_OUTCOMES[decision.outcome](decision)}"


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def _treatment(decision: LoggedDecision) -> str:
    return f"Targeted, and shown the offer{_slot(decision)}: {_drawn(decision, 'not below')}."


def _control(decision: LoggedDecision) -> str:
    return f"Held out as control, and shown nothing{_slot(decision)}: {_drawn(decision, 'below')}."


def _slot(decision: LoggedDecision) -> str:
    slot = decision.detail.get("slot")
    return "" if slot is None else f", in slot {slot}"


def _drawn(decision: LoggedDecision, where: str) -> str:
    below = decision.detail.get("below")
    if below == "":
        return "the campaign has no control group"
    if below == "g":
        return "everybody in this campaign is control"
    if below is None:
        return f"the draw was {decision.bucket_digits}"
    return f"the draw {decision.bucket_digits} is {where} {below}, where the control group ends"


def _no_context(decision: LoggedDecision) -> str:
    needed = "place" if decision.detail.get("offer_at") == "top_location" else "category"
    return f"Not targeted: the offer is filled in with the user's top {needed}, and there is none."


def _opted_out(_: LoggedDecision) -> str:
    return "Not targeted: the user had opted out of marketing when the night read consent."


def _global_holdout(decision: LoggedDecision) -> str:
    year = str(decision.detail["salt"]).rpartition(":")[2]
    return (
        f"Not targeted: in the global control group of {year}, which gets no marketing "
        f"({decision.detail['digits']} is below {decision.detail['below']})."
    )


def _cooling_off(decision: LoggedDecision) -> str:
    detail = decision.detail
    return (
        f"Not targeted: was a target of {detail['earlier_campaign']}, which ended on {detail['ended_on']}, "
        f"less than the {detail['cooldown_days']} days of rest ago."
    )


def _too_late(decision: LoggedDecision) -> str:
    left, needed = decision.detail["days_left"], decision.detail["days_needed"]
    return f"Not targeted: {left} days of the campaign were left, and {needed} are needed to join."


def _limit(decision: LoggedDecision) -> str:
    slots = decision.detail.get("slots", "")
    return (
        f"Not targeted: all {slots} slots were taken by campaigns of earlier nights or of better priority."
        if slots
        else "Not targeted: nobody has a slot under this policy."
    )


def _budget(decision: LoggedDecision) -> str:
    detail = decision.detail
    return (
        f"Not targeted: the budget of {detail['budget']} was used up. It goes to those who spend most; with "
        f"this user (expected cost {detail['cost']}) it would have come to {detail['committed']}."
    )


_OUTCOMES: dict[str, Callable[[LoggedDecision], str]] = {
    "treatment": _treatment,
    "control": _control,
    "no_context": _no_context,
    "opted_out": _opted_out,
    "global_holdout": _global_holdout,
    "cooling_off": _cooling_off,
    "too_late": _too_late,
    "limit": _limit,
    "budget": _budget,
}
