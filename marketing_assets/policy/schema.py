"""The JSON Schema (2020-12) of a policy file, for editors: completion, hints and mistakes while typing.

Made from the model, with what the model checks in code added as far as JSON Schema can say it. It cannot
say what holds between entries (names that exist, days that fit) nor how many decimal places a number has;
and it is stricter in style: numbers without quotes, no operator set to null.
"""

import json
from typing import get_args

from pydantic.json_schema import JsonSchemaValue

from marketing_assets.domain.offers import PLACEHOLDERS
from marketing_assets.policy.model import Policy
from marketing_assets.policy.rules import KINDS, OPERATORS, RANGES, Text

_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMBER_OR_TEXT = [{"type": "number"}, {"type": "string"}]


def policy_schema() -> JsonSchemaValue:
    """The schema of a whole policy file."""
    schema: JsonSchemaValue = _tidied(Policy.model_json_schema())
    schema["properties"]["patterns"]["minItems"] = 1
    parts = schema["$defs"]
    parts["AnyOf"]["properties"]["any_of"] |= {"minItems": 1, "uniqueItems": True}
    parts["Rule"]["uniqueItems"] = True
    _complete_condition(parts["Condition"])
    _complete_offer(parts["Offer"])
    _complete_campaign(parts["CampaignTemplate"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The schema as the packaged file `schema.json` has it."""
    return json.dumps(policy_schema(), indent=2) + "\n"


def _tidied(node: JsonSchemaValue) -> JsonSchemaValue:
    """Numbers as numbers with their bounds: the model's decimals are written as "number or text"."""
    tidy: JsonSchemaValue = {}
    for key, value in node.items():
        if key == "anyOf" and value == _NUMBER_OR_TEXT:
            tidy["type"] = "number"
        elif key in _BOUNDS:
            tidy[_BOUNDS[key]] = _number(value)
        elif key == "default":
            tidy[key] = _default(value)
        elif isinstance(value, dict):
            tidy[key] = _tidied(value)
        elif isinstance(value, list):
            tidy[key] = [_tidied(item) if isinstance(item, dict) else item for item in value]
        elif key not in ("title", "max_digits", "decimal_places"):
            tidy[key] = value
    return tidy


def _default(value: object) -> object:
    """A default of the model, whose decimals are written as text."""
    if isinstance(value, dict):
        return {key: _default(item) for key, item in value.items()}
    is_number = isinstance(value, str) and value.replace(".", "", 1).isdigit()
    return _number(value) if is_number else value


def _number(value: object) -> int | float:
    number = float(str(value))
    return int(number) if number.is_integer() else number


def _complete_condition(condition: JsonSchemaValue) -> None:
    """Exactly one operator, and values of the kind and range of the feature."""
    properties = condition["properties"]
    for name in OPERATORS:
        number, _null = properties[name]["anyOf"]
        properties[name] = number
    properties["equals"] = {"type": ["number", "string"]}
    condition["oneOf"] = [{"required": [name]} for name in OPERATORS]
    text = {"equals": {"type": "string", "minLength": 1}}
    condition["allOf"] = [
        _if_feature(
            list(get_args(Text)),
            {"properties": text | dict.fromkeys((n for n in OPERATORS if n != "equals"), False)},
        ),
        *(_if_feature([name], {"properties": _bounds(name)}) for name in RANGES),
    ]


def _if_feature(features: list[str], then: JsonSchemaValue) -> JsonSchemaValue:
    return {"if": {"properties": {"feature": {"enum": features}}}, "then": then}


def _bounds(feature: str) -> JsonSchemaValue:
    """What each operator may compare a feature with: what could hold, and for counts could fail too."""
    lowest, highest = RANGES[feature]
    is_count = KINDS[feature] == "count"
    kind = {"type": "integer" if is_count else "number"}
    least, most = {"minimum": lowest}, {"maximum": highest}
    above_least, below_most = {"exclusiveMinimum": lowest}, {"exclusiveMaximum": highest}
    return {
        "at_least": kind | most | (above_least if is_count else least),
        "at_most": kind | least | (below_most if is_count else most),
        "above": kind | least | below_most,
        "below": kind | above_least | most,
        "equals": kind | least | most,
    }


def _complete_offer(offer: JsonSchemaValue) -> None:
    offer["allOf"] = [
        {
            "if": {"properties": {"type": {"const": "points"}}},
            "then": {"properties": {"unit": {"const": "multiplier"}}},
            "else": {"properties": {"unit": {"enum": ["percentage", "fixed"]}}},
        },
        {
            "if": {"properties": {"unit": {"const": "percentage"}}},
            "then": {"properties": {"value": {"maximum": 100}}},
        },
    ]


def _complete_campaign(campaign: JsonSchemaValue) -> None:
    """Reserved names, what a percentage or points need, and the placeholders of the texts."""
    properties = campaign["properties"]
    for name in (properties["template"], properties["renamed_from"]["anyOf"][0]):
        name["pattern"] = name["pattern"].replace("^", "^(?!global|manual)", 1)
    properties["type"]["not"] = {"const": "manual"}
    placeholders = "|".join(PLACEHOLDERS)
    for key in ("name", "description"):
        properties[key]["pattern"] = rf"^([^{{}}\x00-\x1f\x7f]|\{{({placeholders})\}})+$"
    campaign["allOf"] = [
        {
            "if": {"properties": {"offer": {"properties": {"unit": {"const": "fixed"}}}}},
            "else": {"required": ["max_reward"], "properties": {"max_reward": {"type": "number"}}},
        },
        {
            "if": {"properties": {"max_reward": {"type": "number"}}, "required": ["max_reward"]},
            "else": _texts_without("max_reward"),
        },
        *(
            {
                "if": {
                    "properties": {"offer": {"properties": {"at": {"const": at}}, "required": ["at"]}},
                },
                "else": _texts_without(placeholder),
            }
            for placeholder, at in (("location", "top_location"), ("category", "top_category"))
        ),
    ]


def _texts_without(placeholder: str) -> JsonSchemaValue:
    absent = {"not": {"pattern": rf"\{{{placeholder}\}}"}}
    return {"properties": {"name": absent, "description": absent}}
