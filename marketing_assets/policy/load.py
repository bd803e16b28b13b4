"""Reading a policy file, with every mistake named by line, column and path inside the file.

YAML here is the plain subset that means what it looks like: numbers are exact decimals, `no` is a
word, a key stands once, aliases and tags are refused. What a policy may say is `model.py`'s part.
"""

import difflib
import re
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from marketing_assets.errors import PolicyError
from marketing_assets.policy.model import (
    CampaignTemplate,
    Checks,
    Limits,
    ManualDefaults,
    Offer,
    Pattern,
    Policy,
)
from marketing_assets.policy.rules import UNION_TAGS, AnyOf, Condition
from marketing_assets.settings import LONGEST_WINDOW

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]

DEFAULT_NAME = "marketing_assets/policy/default.yaml"
_REMEDY = f"Correct these lines and run again; every setting is explained in {DEFAULT_NAME}."

# The model at each place of the file, list positions left out: its keys are what is allowed there.
_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Policy,
    ("patterns",): Pattern,
    ("patterns", "rule", "<condition>"): Condition,
    ("patterns", "rule", "<any_of>"): AnyOf,
    ("patterns", "rule", "<any_of>", "any_of"): Condition,
    ("campaigns",): CampaignTemplate,
    ("campaigns", "offer"): Offer,
    ("manual_defaults",): ManualDefaults,
    ("limits",): Limits,
    ("checks",): Checks,
}

_SHAPES = {"model_type": "should be a mapping (key: value)", "tuple_type": "should be a list"}
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_DECIMAL = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


class _Mistake(NamedTuple):
    """One thing that is wrong; line and column count from 1. Sorts as the file is read."""

    line: int
    column: int
    place: str
    message: str

    def shown(self, name: str) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{name}:{self.line}:{self.column}: {place}{self.message}"


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Plain scalars stay text: what they mean is decided in `_plain_value`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to say it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=mark)
        return super().compose_node(parent, index)


def load_policy(path: Path | None, window_days: int = LONGEST_WINDOW) -> Policy:
    """The policy in `path`, or the packaged default where there is none.

    Args:
        path: the file.
        window_days: length in days of the window that it is for, which bounds what conditions can hold.

    Raises:
        PolicyError: the file cannot be read, or with one line for each mistake in it. Checks between
            entries (a campaign's pattern exists) are made once every entry is right by itself.
    """
    if path is None:
        content = resources.files("marketing_assets.policy").joinpath("default.yaml").read_bytes()
        return _parse(content, DEFAULT_NAME, window_days)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PolicyError(
            f"The policy file {path} cannot be read: {error.strerror or error}.",
            remedy="Name a readable file, as argument or in MARKETING_POLICY (unset: the default policy).",
        ) from error
    return _parse(content, str(path), window_days)


def _parse(content: bytes, name: str, window_days: int) -> Policy:
    mistakes: list[_Mistake] = []
    root = _compose(content, name)
    reader = _Reader(mistakes)
    try:
        policy = Policy.model_validate(reader.read(root, ()), context={"window_days": window_days})
    except ValidationError as error:
        mistakes += [reader.mistake(details) for details in error.errors(include_url=False)]
    else:
        if not mistakes:
            return policy
    lines = [mistake.shown(name) for mistake in sorted(set(mistakes))]
    raise PolicyError("\n".join(lines), remedy=_REMEDY)


def _compose(content: bytes, name: str) -> yaml.Node:
    """The one document of the file as nodes, which know their positions."""
    try:
        text = content.decode("utf-8-sig")
        node: yaml.Node | None = yaml.compose(text, _Loader)
    except UnicodeDecodeError as error:
        mistake = _Mistake(content.count(b"\n", 0, error.start) + 1, 1, "", "is not UTF-8 text")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        mistake = _Mistake(line, column, "", f"is not valid YAML: {said}")
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        mistake = _Mistake(len(before), len(before[-1]) + 1, "", "holds a character that YAML does not allow")
    except RecursionError:
        mistake = _Mistake(1, 1, "", "is nested too deeply")
    else:
        if node is not None:
            return node
        mistake = _Mistake(1, 1, "", "is empty; a policy has at least patterns and campaigns")
    raise PolicyError(mistake.shown(name), remedy=_REMEDY)


class _Reader:
    """Turns nodes into plain values, and remembers where each key and value stood."""

    def __init__(self, mistakes: list[_Mistake]) -> None:
        self._mistakes = mistakes
        self._keys: dict[Place, yaml.Mark] = {}
        self._values: dict[Place, yaml.Mark] = {}

    def read(self, node: yaml.Node, place: Place) -> object:
        """The value of a node: None, bool, int, Decimal, str, list or dict."""
        self._values[place] = node.start_mark
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag[18:] not in {"str", "seq", "map"}:
            self._complain(node.start_mark, place, f"has the tag {node.tag}; tags are not supported")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*place, index)) for index, item in enumerate(node.value)]
        text: str = node.value
        return _plain_value(text) if isinstance(node, yaml.ScalarNode) and node.style is None else text

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            key, mark = key_node.value, key_node.start_mark
            if not isinstance(key, str):
                self._complain(mark, place, "has a key that is not a word")
            elif key in mapping:
                first = self._keys[(*place, key)].line + 1
                self._complain(mark, (*place, key), f"is given twice, first in line {first}")
            else:
                self._keys[(*place, key)] = mark
                mapping[key] = self.read(value_node, (*place, key))
        return mapping

    def _complain(self, mark: yaml.Mark, place: Place, message: str) -> None:
        self._mistakes.append(_Mistake(mark.line + 1, mark.column + 1, _shown_place(place), message))

    def mistake(self, details: "ErrorDetails") -> _Mistake:
        """What pydantic found, at the line of the value or of the nearest thing around it."""
        steps = details["loc"]
        place = tuple(step for step in steps if step not in UNION_TAGS)
        if details["type"] == "extra_forbidden":
            # The last step is the file's own key, even one that looks like a tag.
            place = (*(step for step in steps[:-1] if step not in UNION_TAGS), steps[-1])
            mark = self._keys[place]
        else:
            nearest = next(place[:size] for size in range(len(place), -1, -1) if place[:size] in self._values)
            mark = self._values[nearest]
        return _Mistake(mark.line + 1, mark.column + 1, _shown_place(place), _message(details))


def _plain_value(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text


def _shown_place(place: Place) -> str:
    """`campaigns[0].offer.value`; a key that is not a plain word in quotes."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_shown_key(step)}" for step in place)
    return "".join(steps).removeprefix(".")


def _shown_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else repr(key)


def _message(details: "ErrorDetails") -> str:
    kind, given = details["type"], details["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        keys = tuple(step for step in details["loc"] if isinstance(step, str))
        return "is not known" + _instead(keys[-1], list(_MODELS[keys[:-1]].model_fields))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", details["ctx"]["expected"])
        return f"{_shown_value(given)} is not known" + _instead(str(given), allowed)
    said = _SHAPES.get(kind) or re.sub(r"^(Input|String|Decimal input) should", "should", details["msg"])
    simple = kind != "policy" and isinstance(given, str | int | Decimal | None)
    return f"{said}, not {_shown_value(given)}" if simple else said


def _instead(given: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(given, allowed, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{hint} (allowed: {', '.join(allowed)})"


def _shown_value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)
