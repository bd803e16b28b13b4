from datetime import date

import pytest

from marketing_assets.domain.explanation import LoggedDecision, explained
from marketing_assets.storage.datasets import TARGETING_DECISIONS

CASES: list[tuple[str, dict[str, object], dict[str, object], str]] = [
    (
        "treatment",
        {"spend": "6120.50"},
        {"below": "19999999", "slot": 2},
        "Qualified with spend 6120.50. Targeted, and shown the offer, in slot 2: the draw 3fa20000 is not "
        "below 19999999, where the control group ends.",
    ),
    (
        "control",
        {"days_since_last": 31},
        {"below": "g", "slot": 1},
        "Qualified with days since last 31. Held out as control, and shown nothing, in slot 1: everybody in "
        "this campaign is control.",
    ),
    (
        "treatment",
        {},
        {"below": "", "slot": 1},
        "Qualified as every user does. Targeted, and shown the offer, in slot 1: the campaign has no control "
        "group.",
    ),
    (
        "treatment",
        {},
        {},
        "Qualified as every user does. Targeted, and shown the offer: the draw was 3fa20000.",
    ),
    (
        "no_context",
        {"spend_trend": None},
        {"offer_at": "top_location"},
        "Qualified with spend trend unknown. Not targeted: the offer is filled in with the user's top place, "
        "and there is none.",
    ),
    (
        "opted_out",
        {},
        {},
        "Qualified as every user does. Not targeted: the user had opted out of marketing when the night read "
        "consent.",
    ),
    (
        "global_holdout",
        {},
        {"salt": "global:2026", "digits": "0abc0000", "below": "0ccccccc"},
        "Qualified as every user does. Not targeted: in the global control group of 2026, which gets no "
        "marketing (0abc0000 is below 0ccccccc).",
    ),
    (
        "cooling_off",
        {},
        {"earlier_campaign": "re-engagement-2026-11-01", "ended_on": "2026-11-15", "cooldown_days": 30},
        "Qualified as every user does. Not targeted: was a target of re-engagement-2026-11-01, "
        "which ended on "
        "2026-11-15, less than the 30 days of rest ago.",
    ),
    (
        "too_late",
        {},
        {"days_left": 3, "days_needed": 7},
        "Qualified as every user does. Not targeted: 3 days of the campaign were left, and 7 are "
        "needed to join.",
    ),
    (
        "limit",
        {},
        {"slots": 3},
        "Qualified as every user does. Not targeted: all 3 slots were taken by campaigns of earlier "
        "nights or "
        "of better priority.",
    ),
    (
        "limit",
        {},
        {"slots": 0},
        "Qualified as every user does. Not targeted: nobody has a slot under this policy.",
    ),
    (
        "budget",
        {},
        {"budget": "500.00", "committed": "500.030000", "cost": "0.090000"},
        "Qualified as every user does. Not targeted: the budget of 500.00 was used up. It goes to those who "
        "spend most; with this user (expected cost 0.090000) it would have come to 500.030000.",
    ),
]


@pytest.mark.parametrize(("outcome", "reason", "detail", "sentences"), CASES)
def test_a_decision_is_explained_from_its_own_row(
    outcome: str, reason: dict[str, object], detail: dict[str, object], sentences: str
) -> None:
    decision = LoggedDecision(date(2026, 11, 21), "c", outcome, reason, detail, "3fa20000", "p")
    assert explained(decision) == sentences


def test_every_outcome_that_can_be_logged_has_an_explanation() -> None:
    (outcome,) = [column for column in TARGETING_DECISIONS.columns if column.name == "outcome"]
    assert {case[0] for case in CASES} == set(outcome.one_of)
