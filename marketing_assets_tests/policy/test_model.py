"""What a policy may say, and what it refuses to say."""

from decimal import Decimal
from operator import eq, ge, gt, le, lt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from marketing_assets.policy.model import (
    CampaignTemplate,
    Condition,
    ManualCampaign,
    ManualDefaults,
    Offer,
    Pattern,
    Policy,
    Rule,
    frozen_terms,
)

SPENDERS = {
    "name": "spenders",
    "label": "Spenders",
    "rank": 1,
    "rule": [{"feature": "spend", "at_least": 100}],
}
EVERYBODY = {"name": "everybody", "label": "Member", "rank": 2, "rule": []}
CASHBACK = {"type": "cashback", "value": 5, "unit": "percentage"}


def campaign(**changes: object) -> dict[str, object]:
    return {
        "template": "thanks",
        "type": "vip",
        "pattern": "spenders",
        "name": "Thanks",
        "description": "Cashback for you.",
        "offer": CASHBACK,
        "days": 30,
        "priority": 1,
        "reward_for": "every_purchase",
        "max_reward": 20,
        "attribution_days": 14,
        **changes,
    }


def policy(
    *campaigns: dict[str, object], patterns: object = (SPENDERS, EVERYBODY), **others: object
) -> Policy:
    return Policy.model_validate({"patterns": patterns, "campaigns": campaigns or (campaign(),), **others})


def mistakes(refused: pytest.ExceptionInfo[ValidationError]) -> list[tuple[str, str]]:
    errors = refused.value.errors()
    return [
        (".".join(str(step) for step in error["loc"] if "<" not in str(step)), error["msg"])
        for error in errors
    ]


@pytest.mark.parametrize(
    ("condition", "operator", "value"),
    [
        ({"feature": "spend", "at_least": "5000.50"}, "at_least", Decimal("5000.5")),
        ({"feature": "spend", "at_most": -5}, "at_most", Decimal(-5)),
        ({"feature": "days_since_last", "equals": 0}, "equals", Decimal(0)),
        ({"feature": "top_location_share", "above": Decimal("0.30")}, "above", Decimal("0.3")),
        ({"feature": "spend_trend", "below": "-0.25"}, "below", Decimal("-0.25")),
        ({"feature": "transactions", "top_percent": "2.5"}, "top_percent", Decimal("2.5")),
        ({"feature": "top_category", "equals": "0123"}, "equals", "0123"),
        ({"feature": "transactions", "equals": "3"}, "equals", Decimal(3)),
    ],
)
def test_a_condition_is_one_comparison(condition: object, operator: str, value: object) -> None:
    read = Condition.model_validate(condition)
    assert (read.operator, read.value) == (operator, value)
    assert type(read.value) is type(value)


@pytest.mark.parametrize(
    ("condition", "where", "what"),
    [
        ({"feature": "spend"}, "", "exactly one of at_least"),
        ({"feature": "spend", "at_least": 1, "below": 2}, "", "found: at_least, below"),
        ({"feature": "last_transaction_at", "at_least": 1}, "feature", "'transactions'"),
        ({"feature": "spend", "more_than": 1}, "more_than", "not permitted"),
        ({"feature": "top_location", "at_least": 1}, "at_least", "only be compared by equals"),
        ({"feature": "top_location", "top_percent": 1}, "top_percent", "only be compared by equals"),
        ({"feature": "top_location", "equals": 12}, "equals", "put 12 in quotes"),
        ({"feature": "top_location", "equals": ""}, "equals", "at least one character"),
        ({"feature": "top_location", "equals": "a\0"}, "equals", "no control characters"),
        ({"feature": "spend", "equals": "much"}, "equals", "should be a number"),
        ({"feature": "spend", "equals": True}, "equals", "exact number"),
        ({"feature": "spend", "at_least": 0.1}, "at_least", "exact number"),
        ({"feature": "spend", "at_least": "NaN"}, "at_least", "finite"),
        ({"feature": "spend", "at_least": Decimal("Infinity")}, "at_least", "finite"),
        ({"feature": "spend", "equals": "-Infinity"}, "equals", "finite"),
        ({"feature": "spend", "at_least": Decimal("1E+30")}, "at_least", "18 digits"),
        ({"feature": "spend", "at_least": "0.005"}, "at_least", "2 decimal places"),
        ({"feature": "average_order", "at_least": -1}, "at_least", "between 0"),
        ({"feature": "transactions", "at_least": -1}, "at_least", "between 1"),
        ({"feature": "transactions", "at_least": "1.5"}, "at_least", "no decimal places"),
        ({"feature": "transactions", "below": 1}, "below", "is never below 1"),
        ({"feature": "locations", "at_least": 0}, "at_least", "is at_least 0 for every user: leave this"),
        ({"feature": "transactions", "at_least": 1}, "at_least", "is at_least 1 for every user"),
        (
            {"feature": "days_since_last", "at_least": 1000},
            "at_least",
            "between 0 and 119 in a window of 120",
        ),
        ({"feature": "days_since_last", "above": 119}, "above", "is never above 119"),
        ({"feature": "days_since_last", "at_most": 119}, "at_most", "is at_most 119 for every user"),
        ({"feature": "active_days", "at_least": 121}, "at_least", "between 1 and 120 in a window of 120"),
        ({"feature": "active_days", "at_most": 0}, "at_most", "between 1 and 120"),
        ({"feature": "top_category_share", "at_least": "1.01"}, "at_least", "between 0 and 1"),
        ({"feature": "top_category_share", "above": 1}, "above", "is never above 1"),
        ({"feature": "spend", "top_percent": 0}, "top_percent", "greater than 0"),
        ({"feature": "spend", "top_percent": "100.5"}, "top_percent", "less than or equal to 100"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(condition: object, where: str, what: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Condition.model_validate(condition)
    [(place, message)] = mistakes(refused)
    assert place == where
    assert what in message


def test_a_rule_is_an_all_of_with_any_of_groups() -> None:
    spend, trend = {"feature": "spend", "above": 1}, {"feature": "spend_trend", "above": 0}
    rule = Rule.model_validate([spend, {"any_of": [trend, {"feature": "spend", "top_percent": 5}]}])
    assert [[condition.feature for condition in group] for group in rule.groups] == [
        ["spend"],
        ["spend_trend", "spend"],
    ]
    assert rule.features == ("spend", "spend_trend")
    assert Rule.model_validate([]).groups == ()
    with pytest.raises(ValidationError, match="an empty group never holds"):
        Rule.model_validate([{"any_of": []}])


def test_the_window_bounds_what_a_condition_on_days_can_hold() -> None:
    condition = {"feature": "days_since_last", "at_least": 90}
    assert Condition.model_validate(condition).value == 90
    assert Condition.model_validate(condition, context={"window_days": 91}).value == 90
    with pytest.raises(ValidationError) as refused:
        Condition.model_validate(condition, context={"window_days": 90})
    said = "days_since_last lies between 0 and 89 in a window of 90 days, 90 does not"
    assert mistakes(refused) == [("at_least", said)]


@pytest.mark.parametrize(
    ("first", "second", "excluded"),
    [
        ({"at_least": 3}, {"at_most": 2}, True),
        ({"at_least": 3}, {"at_most": 3}, False),
        ({"above": 2}, {"below": 4}, False),
        ({"above": 2}, {"below": 3}, True),
        ({"equals": 3}, {"equals": 4}, True),
        ({"equals": 3}, {"at_least": 2}, False),
        ({"equals": 3}, {"below": 3}, True),
        ({"at_least": 3}, {"at_least": 5}, False),
        ({"at_least": 3}, {"top_percent": 5}, False),
    ],
)
def test_conditions_of_a_rule_that_exclude_each_other_are_refused(
    first: dict[str, object], second: dict[str, object], excluded: bool
) -> None:
    for one, other in ((first, second), (second, first)):
        rule = [{"feature": "locations", **one}, {"feature": "locations", **other}]
        if excluded:
            with pytest.raises(ValidationError) as refused:
                Rule.model_validate(rule)
            [(place, message)] = mistakes(refused)
            assert place == "1"
            assert message.endswith("(entry 1) never hold together")
        else:
            assert len(Rule.model_validate(rule).groups) == 2
        Rule.model_validate([{"any_of": rule}])


HOLDS = {"at_least": ge, "at_most": le, "above": gt, "below": lt, "equals": eq}
COMPARISON = st.tuples(st.sampled_from(sorted(HOLDS)), st.integers(1, 6))


@given(one=COMPARISON, other=COMPARISON)
def test_exactly_the_pairs_that_no_number_meets_are_refused(
    one: tuple[str, int], other: tuple[str, int]
) -> None:
    assume(one != other)
    possible = any(all(HOLDS[name](count, value) for name, value in (one, other)) for count in range(10))
    rule = [{"feature": "locations", name: value} for name, value in (one, other)]
    if possible:
        Rule.model_validate(rule)
    else:
        with pytest.raises(ValidationError, match="never hold together"):
            Rule.model_validate(rule)


def test_money_may_lie_between_two_bounds_that_are_near() -> None:
    bounds = [{"feature": "spend", "above": 3}, {"feature": "spend", "below": 4}]
    assert len(Rule.model_validate(bounds).groups) == 2
    with pytest.raises(ValidationError, match="spend at_most 3 and spend above 3"):
        Rule.model_validate([bounds[0], {"feature": "spend", "at_most": 3}])
    fuel, food = ({"feature": "top_category", "equals": name} for name in ("Fuel", "Food"))
    with pytest.raises(ValidationError, match="top_category equals Food and top_category equals Fuel"):
        Rule.model_validate([fuel, food])
    assert len(Rule.model_validate([{"any_of": [fuel, food]}]).groups) == 1


def test_nothing_is_said_twice_in_a_rule() -> None:
    spend, more = {"feature": "spend", "above": 1}, {"feature": "spend", "above": "1.00"}
    with pytest.raises(ValidationError) as refused:
        Rule.model_validate([spend, {"any_of": [spend]}, more])
    assert mistakes(refused) == [("2", "says the same as entry 1 of this list")]
    with pytest.raises(ValidationError) as refused:
        Rule.model_validate([{"any_of": [spend, more]}])
    assert mistakes(refused) == [("0.any_of.1", "says the same as entry 1 of this list")]


@pytest.mark.parametrize(
    ("offer", "where", "what"),
    [
        ({"type": "discount", "value": "100.01", "unit": "percentage"}, "value", "at most 100"),
        ({"type": "discount", "value": 0, "unit": "percentage"}, "value", "greater than 0"),
        ({"type": "bonus", "value": "5.005", "unit": "fixed"}, "value", "2 decimal places"),
        ({"type": "discount", "value": 10, "unit": "multiplier"}, "unit", "points are a multiplier"),
        ({"type": "points", "value": 10, "unit": "fixed"}, "unit", "points are a multiplier"),
        ({"type": "gift", "value": 10, "unit": "fixed"}, "type", "'discount'"),
        ({"type": "bonus", "value": 10, "unit": "fixed", "at": "spend"}, "at", "'top_location'"),
    ],
)
def test_offers_that_make_no_sense_are_refused(offer: object, where: str, what: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Offer.model_validate(offer)
    [(place, message)] = mistakes(refused)
    assert place == where
    assert what in message


FIXED = {"type": "bonus", "value": 50, "unit": "fixed"}
ALL = {"type": "discount", "value": 100, "unit": "percentage"}


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"template": "global-thanks"}, "template", "reserved"),
        ({"template": "manual-thanks"}, "template", "reserved"),
        ({"template": "Thanks!"}, "template", "pattern"),
        ({"renamed_from": "global"}, "renamed_from", "reserved"),
        ({"type": "manual"}, "type", "created by hand"),
        ({"days": 0}, "days", "greater than or equal to 1"),
        ({"days": 367}, "days", "less than or equal to 366"),
        ({"days": True}, "days", "integer"),
        ({"days": 7}, "attribution_days", "14 days are longer than the campaign (7)"),
        ({"priority": 0}, "priority", "greater than or equal to 1"),
        ({"max_reward": None}, "max_reward", "is missing: a percentage offer needs one"),
        ({"offer": FIXED}, "max_reward", "20 is less than the fixed reward of 50"),
        ({"budget": "19.99"}, "budget", "does not cover what one target may earn (20)"),
        ({"offer": FIXED, "max_reward": None, "budget": 49}, "budget", "(50)"),
        ({"offer": ALL, "amount_is": "net"}, "amount_is", "always 0"),
        ({"holdout_share": "1.01"}, "holdout_share", "less than or equal to 1"),
        ({"expected_conversion": 0}, "expected_conversion", "greater than 0"),
        ({"margin": 2}, "margin", "less than or equal to 1"),
        ({"cooldown_days": -1}, "cooldown_days", "greater than or equal to 0"),
        ({"name": ""}, "name", "at least 1"),
        ({"description": "two\nlines"}, "description", "pattern"),
        ({"pause_when_losing": "yes"}, "pause_when_losing", "boolean"),
        ({"name": "At {location}"}, "name", "{location} needs an offer with at: top_location"),
        ({"description": "{locaton}"}, "description", "did you mean {location}?"),
        ({"cooldown_days": 3661}, "cooldown_days", "less than or equal to 3660"),
    ],
)
def test_templates_that_make_no_sense_are_refused(changes: dict[str, object], where: str, what: str) -> None:
    with pytest.raises(ValidationError) as refused:
        CampaignTemplate.model_validate(campaign(**changes))
    [(place, message)] = mistakes(refused)
    assert place == where
    assert what in message


def test_what_a_template_gets_where_it_says_nothing() -> None:
    template = CampaignTemplate.model_validate(campaign())
    assert (template.holdout_share, template.expected_conversion) == (Decimal("0.1"), Decimal("0.05"))
    assert (template.budget, template.margin, template.cooldown_days) == (None, Decimal(1), 0)
    assert (template.rewards, template.amount_is, template.pause_when_losing) == ("app", "gross", True)
    assert (template.renamed_from, template.min_audience) == (None, None)


def test_what_versions_freeze_is_read_as_what_it_is() -> None:
    template = CampaignTemplate.model_validate(campaign())
    assert frozen_terms(template.model_dump_json()) == template
    rule = [{"feature": "spend", "at_least": "100"}]
    manual = ManualCampaign.model_validate(campaign(template="manual-thanks", type="manual", criteria=rule))
    assert frozen_terms(manual.model_dump_json()) == manual
    assert manual.criteria is not None
    assert manual.criteria.features == ("spend",)


def test_a_manual_campaign_is_called_like_one() -> None:
    with pytest.raises(ValidationError) as refused:
        ManualCampaign.model_validate(campaign(budget="19.99"))
    assert mistakes(refused) == [
        ("template", "'thanks' does not begin with 'manual-'"),
        ("type", "the type of a campaign created by hand is 'manual'"),
        ("budget", "19.99 does not cover what one target may earn (20)"),
    ]


def test_no_pattern_is_called_like_the_criteria_of_a_manual_campaign() -> None:
    with pytest.raises(ValidationError) as refused:
        policy(patterns=[{**SPENDERS, "name": "manual_thanks"}])
    expected = "'manual_thanks' may not begin with 'manual_': those names are reserved"
    assert mistakes(refused) == [("patterns.0.name", expected)]


@pytest.mark.parametrize(("days", "attribution_days"), [(1, 1), (7, 4), (28, 14), (60, 14)])
def test_the_window_of_a_manual_campaign(days: int, attribution_days: int) -> None:
    assert ManualDefaults().attribution_days(days) == attribution_days


def test_names_and_ranks_differ() -> None:
    with pytest.raises(ValidationError) as refused:
        policy(patterns=[SPENDERS, {**EVERYBODY, "name": "spenders", "rank": 1}])
    assert mistakes(refused) == [
        ("patterns.1.name", "'spenders' is taken by entry 1 of this list"),
        ("patterns.1.rank", "1 is taken by entry 1 of this list"),
    ]
    with pytest.raises(ValidationError) as refused:
        policy(campaign(), campaign(renamed_from="old"), campaign(template="other", renamed_from="old"))
    assert mistakes(refused) == [
        ("campaigns.1.template", "'thanks' is taken by entry 1 of this list"),
        ("campaigns.2.renamed_from", "'old' is taken by entry 2 of this list"),
    ]
    with pytest.raises(ValidationError, match="'thanks' is still a template"):
        policy(campaign(), campaign(template="other", renamed_from="thanks"))


def test_a_campaign_needs_a_pattern_that_exists() -> None:
    with pytest.raises(ValidationError) as refused:
        policy(campaign(pattern="spender"))
    expected = "no pattern is called 'spender' (allowed: spenders, everybody)"
    assert mistakes(refused) == [("campaigns.0.pattern", expected)]
    with pytest.raises(ValidationError, match="at least one pattern"):
        policy(patterns=[])


@pytest.mark.parametrize("share", ["-0.01", "1.01", "NaN"])
def test_limits_are_possible(share: str) -> None:
    with pytest.raises(ValidationError):
        policy(limits={"global_holdout_share": share})
    with pytest.raises(ValidationError):
        policy(limits={"min_audience": 0})


def test_the_version_is_of_the_content_alone() -> None:
    version = policy().version
    assert len(version) == 12
    assert int(version, 16) >= 0
    assert policy(campaign(holdout_share="0.10", budget=None)).version == version
    assert policy(campaign(max_reward=Decimal("2E+1"))).version == version
    assert policy(patterns=[EVERYBODY, SPENDERS], limits={}, point_value="0.0010").version == version
    assert policy(campaign(max_reward="20.01")).version != version
    assert policy(campaign(name="Thank you")).version != version
    assert policy(limits={"min_audience": 21}).version != version


def test_order_of_the_file_means_nothing() -> None:
    first, second, third = (
        campaign(template="b", priority=1),
        campaign(template="a", priority=2),
        campaign(template="c", priority=2),
    )
    read = policy(third, second, first, patterns=[EVERYBODY, SPENDERS])
    assert [template.template for template in read.campaigns] == ["b", "a", "c"]
    assert [pattern.name for pattern in read.patterns] == ["spenders", "everybody"]
    assert read == policy(first, second, third)


def test_a_policy_survives_json_and_cannot_be_changed() -> None:
    read = policy(campaign(holdout_share="0.1"), limits={"global_holdout_share": "0.05"})
    again = Policy.model_validate_json(read.model_dump_json())
    assert again == read
    assert again.version == read.version
    assert hash(again) == hash(read)
    with pytest.raises(ValidationError, match="frozen"):
        read.point_value = Decimal(1)  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Pattern.model_validate({**SPENDERS, "priority": 1})


def test_an_editor_can_have_a_json_schema() -> None:
    schema = Policy.model_json_schema()
    assert "top_category" in schema["$defs"]["Condition"]["properties"]["feature"]["enum"]
