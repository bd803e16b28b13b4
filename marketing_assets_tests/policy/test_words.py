"""A policy in words: what a marketer reads of rules, offers and values."""

from decimal import Decimal

import pytest

from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Offer
from marketing_assets.policy.rules import KINDS, Condition, Rule
from marketing_assets.policy.words import FEATURES, condition_text, offer_text, rule_text, value_text


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ({"feature": "spend", "at_least": 5000}, "spend at least 5000"),
        ({"feature": "spend", "at_most": "-5.5"}, "spend at most -5.5"),
        ({"feature": "average_order", "equals": "1E+3"}, "average order exactly 1000"),
        ({"feature": "transactions", "below": 5}, "fewer than 5 purchases"),
        ({"feature": "locations", "at_least": 1}, "at least 1 location"),
        ({"feature": "days_since_last", "above": 30}, "more than 30 days since the last purchase"),
        ({"feature": "spend_trend", "at_least": "0.5"}, "change of spend per day at least +50%"),
        ({"feature": "spend_trend", "below": "-0.125"}, "change of spend per day less than -12.5%"),
        (
            {"feature": "top_location_share", "at_least": "0.3"},
            "share of purchases at the top location at least 30%",
        ),
        ({"feature": "spend", "top_percent": "2.5"}, "the top 2.5% by spend"),
        ({"feature": "top_category", "equals": "Fuel"}, 'top category "Fuel"'),
    ],
)
def test_conditions_in_words(condition: object, says: str) -> None:
    assert condition_text(Condition.model_validate(condition)) == says


def test_rules_in_words() -> None:
    spend, often = {"feature": "spend", "above": 9}, {"feature": "transactions", "above": 4}
    assert rule_text(Rule.model_validate([])) == "every user"
    assert rule_text(Rule.model_validate([spend, often])) == "spend more than 9 and more than 4 purchases"
    either = {"any_of": [spend, often]}
    assert rule_text(Rule.model_validate([either])) == "spend more than 9 or more than 4 purchases"
    assert rule_text(Rule.model_validate([{**spend, "above": 5}, either])) == (
        "spend more than 5 and (spend more than 9 or more than 4 purchases)"
    )


def test_every_feature_has_a_name() -> None:
    assert set(FEATURES) == set(KINDS)


def test_offers_in_words() -> None:
    assert [offer_text(template.offer) for template in load_policy(None).campaigns] == [
        "cashback 5%",
        "bonus 50",
        "10 points per unit",
        "discount 25%",
        "discount 20%",
        "discount 15% at their top location",
        "discount 10% in their top category",
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("budget", None, "no limit"),
        ("budget", Decimal("1E+4"), "10000"),
        ("min_audience", None, "the one under limits"),
        ("renamed_from", None, "none"),
        ("holdout_share", Decimal("0.125"), "12.5%"),
        ("pause_when_losing", False, "no"),
        ("reward_for", "first_purchase", "first purchase"),
        ("pattern", "high_spender", "high_spender"),
        ("name", "At {location}", "At {location}"),
        ("days", 30, "30"),
        ("rule", Rule(()), "every user"),
        ("offer", Offer(type="bonus", value=Decimal(5), unit="fixed"), "bonus 5"),
    ],
)
def test_values_in_words(name: str, value: object, says: str) -> None:
    assert value_text(name, value) == says
