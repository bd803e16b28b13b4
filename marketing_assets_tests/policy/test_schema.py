"""The JSON Schema for editors: accepts what the model accepts, refuses what can be said in a schema."""

import copy
from importlib import resources
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from marketing_assets.policy.model import Policy
from marketing_assets.policy.rules import KINDS, OPERATORS, RANGES
from marketing_assets.policy.schema import policy_schema, schema_text

PACKAGE = resources.files("marketing_assets.policy")
DEFAULT: dict[str, Any] = yaml.safe_load(PACKAGE.joinpath("default.yaml").read_text("utf-8"))
SCHEMA = Draft202012Validator(policy_schema())


def changed(path: str, value: object) -> dict[str, Any]:
    """The default policy with another value at `campaigns.0.days`; `...` takes the key away."""
    document = copy.deepcopy(DEFAULT)
    node: Any = document
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in steps:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


def accepts(document: object) -> bool:
    """Whether the model takes the document; its numbers are exact, those of the file are too."""

    def exact(node: object) -> object:
        if isinstance(node, dict):
            return {key: exact(value) for key, value in node.items()}
        if isinstance(node, list):
            return [exact(item) for item in node]
        return str(node) if isinstance(node, float) else node

    try:
        Policy.model_validate(exact(document))
    except ValidationError:
        return False
    return True


def test_the_packaged_schema_is_the_one_of_the_model() -> None:
    packaged = PACKAGE.joinpath("schema.json").read_text("utf-8")
    assert packaged == schema_text(), "marketing policy schema > marketing_assets/policy/schema.json"
    Draft202012Validator.check_schema(policy_schema())
    first = PACKAGE.joinpath("default.yaml").read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_the_default_policy_is_accepted() -> None:
    assert list(SCHEMA.iter_errors(DEFAULT)) == []


def test_every_setting_has_a_hint_for_its_writer() -> None:
    parts = {"Policy": policy_schema(), **policy_schema()["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, part in parts.items()
        if name not in ("Condition", "AnyOf")
        for key, setting in part.get("properties", {}).items()
        if not setting.get("description")
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("patterns.0.rule", []),
        ("patterns.0.rule", [{"feature": "spend", "top_percent": 5}]),
        ("patterns.0.rule", [{"feature": "top_category", "equals": "0123"}]),
        ("patterns.0.rule", [{"any_of": [{"feature": "spend", "above": 1.5}]}]),
        ("campaigns.0.budget", None),
        ("campaigns.0.budget", 250.25),
        ("campaigns.1.max_reward", None),
        ("campaigns.5.description", "{offer} {location} {max_reward} {currency}"),
        ("campaigns.0.renamed_from", "vip"),
        ("limits.max_active_campaigns", 0),
        ("limits", ...),
    ],
)
def test_what_a_policy_may_say_is_accepted(path: str, value: object) -> None:
    document = changed(path, value)
    assert accepts(document)
    assert list(SCHEMA.iter_errors(document)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("patterns", []),
        ("patterns.0.rank", 0),
        ("patterns.0.label", ...),
        ("patterns.0.name", "High Spender"),
        ("patterns.0.color", "red"),
        ("patterns.0.rule", [{"feature": "spend"}]),
        ("patterns.0.rule", [{"feature": "spent", "above": 1}]),
        ("patterns.0.rule", [{"feature": "spend", "above": 1, "below": 2}]),
        ("patterns.0.rule", [{"feature": "spend", "equals": "much"}]),
        ("patterns.0.rule", [{"feature": "spend", "top_percent": 0}]),
        ("patterns.0.rule", [{"feature": "top_category", "equals": 12}]),
        ("patterns.0.rule", [{"feature": "top_category", "above": "a"}]),
        ("patterns.0.rule", [{"feature": "transactions", "above": 1.5}]),
        ("patterns.0.rule", [{"feature": "locations", "at_least": 0}]),
        ("patterns.0.rule", [{"feature": "days_since_last", "at_least": 1000}]),
        ("patterns.0.rule", [{"feature": "top_category_share", "above": 1}]),
        ("patterns.0.rule", [{"any_of": []}]),
        ("patterns.0.rule", [{"any_of": [{"any_of": [{"feature": "spend", "above": 1}]}]}]),
        ("patterns.0.rule", [{"any_of": [{"feature": "spend", "above": 1}], "feature": "spend"}]),
        ("patterns.0.rule", [{"feature": "spend", "above": 1}] * 2),
        ("campaigns.0.offer.type", "gift"),
        ("campaigns.0.offer.value", 101),
        ("campaigns.0.offer.value", 0),
        ("campaigns.0.offer.unit", "multiplier"),
        ("campaigns.2.offer.unit", "fixed"),
        ("campaigns.0.offer.at", "home"),
        ("campaigns.0.max_reward", ...),
        ("campaigns.0.max_reward", None),
        ("campaigns.0.holdout_share", 1.01),
        ("campaigns.0.holdout_share", -0.01),
        ("campaigns.0.expected_conversion", 0),
        ("campaigns.0.days", 367),
        ("campaigns.0.days", 2.5),
        ("campaigns.0.budget", 0),
        ("campaigns.0.template", "manual-x"),
        ("campaigns.0.renamed_from", "global"),
        ("campaigns.0.type", "manual"),
        ("campaigns.0.reward_for", "always"),
        ("campaigns.0.name", ""),
        ("campaigns.0.description", "Get {offr}."),
        ("campaigns.0.description", "Get {offer."),
        ("campaigns.0.description", "Get {offer.value}."),
        ("campaigns.0.description", "At {location}."),
        ("campaigns.5.name", "All {category}"),
        ("campaigns.0.pause_when_losing", "yes"),
        ("limits.global_holdout_share", 2),
        ("limits.max_active_campaigns", -1),
        ("limits.min_days_left", 0),
        ("limits.settle_after_hours", 100_000),
        ("limits.max_actve_campaigns", 1),
        ("manual_defaults.type", "vip"),
        ("checks.arm_deviations", 2),
        ("point_value", 0),
    ],
)
def test_what_makes_no_sense_is_refused_by_both(path: str, value: object) -> None:
    document = changed(path, value)
    assert not accepts(document)
    assert not SCHEMA.is_valid(document)


@settings(max_examples=300, deadline=None)
@given(
    feature=st.sampled_from(sorted(KINDS)),
    operators=st.lists(st.sampled_from(OPERATORS), min_size=1, max_size=2, unique=True),
    value=st.integers(-2, 130)
    | st.sampled_from([bound for bounds in RANGES.values() for bound in bounds])
    | st.sampled_from(["Fuel", ""]),
)
def test_schema_and_model_agree_on_every_condition(
    feature: str, operators: list[str], value: int | str
) -> None:
    # Digits in quotes are the one thing that the model takes and an editor marks.
    document = changed("patterns.0.rule", [{"feature": feature, **dict.fromkeys(operators, value)}])
    assert SCHEMA.is_valid(document) is accepts(document)
