"""What changed between two policies, by place in the file, and whom each change reaches.

Compares content: entries are known by their names, so that their order, comments and layout mean nothing.
How a change is printed is the command's part.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from marketing_assets.policy.model import CampaignTemplate, Policy
from marketing_assets.policy.rules import Rule
from marketing_assets.policy.words import offer_text, rule_text, value_text

Kind = Literal["changed", "added", "removed", "renamed"]
Reach = Literal["new", "joining", "shown", "figures", "yearly", "manual", "warnings"]

REACHES: dict[Reach, str] = {
    "new": "Campaigns that open from the next night on; open ones keep the terms they opened with",
    "joining": "Who joins from the next night on, also open campaigns; whoever is in stays in",
    "shown": "What the app shows of a user from the next night on",
    "figures": "Rewards, results and clean-up from the next night on",
    "yearly": "The next yearly draw of users outside all marketing; this year's stands",
    "manual": "Campaigns that are created by hand from now on",
    "warnings": "Warnings only; no decision, and no part of the version",
}
"""Whom a change reaches. Nothing reaches the terms of a campaign that is open."""

_SECTIONS = ("limits", "manual_defaults", "checks")
_REACH_OF: dict[str, Reach] = {
    "patterns.label": "shown",
    "patterns.rank": "shown",
    "patterns.rule": "joining",
    "limits.max_active_campaigns": "joining",
    "limits.min_days_left": "joining",
    "limits.max_cost_share": "joining",
    "limits.global_holdout_share": "yearly",
    "limits.min_audience": "new",
    "limits.max_new_campaigns": "new",
    "limits": "figures",
    "point_value": "figures",
    "manual_defaults": "manual",
    "checks": "warnings",
}


@dataclass(frozen=True)
class Change:
    """One difference: where, what it is called, and what stood there before and after.

    `before` is None where something was added, `after` where it was removed. The texts say the same in words.
    """

    path: str
    kind: Kind
    what: str
    reach: Reach
    before: object
    after: object
    before_text: str = ""
    after_text: str = ""


def changes(before: Policy, after: Policy) -> list[Change]:
    """Every difference, in the order of the file: patterns, campaigns, then the settings."""
    found = [*_patterns(before, after), *_campaigns(before, after)]
    for section in _SECTIONS:
        found += _fields(getattr(before, section), getattr(after, section), section, section)
    return found + _of_fields(before, after, ["point_value"], "", "")


def _patterns(before: Policy, after: Policy) -> Iterable[Change]:
    old = {pattern.name: pattern for pattern in before.patterns}
    new = {pattern.name: pattern for pattern in after.patterns}
    for name in _names(old, new):
        path = f"patterns.{name}"
        if name not in new:
            yield _removed(path, "pattern", old[name], rule_text(old[name].rule))
        elif name not in old:
            yield _added(path, "pattern", new[name], rule_text(new[name].rule))
        else:
            yield from _fields(old[name], new[name], path, "patterns")


def _campaigns(before: Policy, after: Policy) -> Iterable[Change]:
    """Templates by name; one that names its old self is the same template."""
    old = {template.template: template for template in before.campaigns}
    new = {template.template: template for template in after.campaigns}
    renamed = {
        template.renamed_from: name
        for name, template in new.items()
        if template.renamed_from in old and name not in old
    }
    for name in _names(old, new):
        now = renamed.get(name, name)
        path = f"campaigns.{now}"
        if name in old and now in new:
            known = ["template"]
            if now != name:
                yield Change(path, "renamed", "template", "new", name, now, name, now)
                known.append("renamed_from")
            yield from _fields(old[name], new[now], path, "campaigns", leave_out=known)
        elif name in old:
            yield _removed(path, "campaign", old[name], _summary(old[name]))
        elif name not in renamed.values():
            yield _added(path, "campaign", new[name], _summary(new[name]))


def _removed(path: str, what: str, entry: BaseModel, text: str) -> Change:
    return Change(path, "removed", what, "joining", _plain(entry), None, before_text=text)


def _added(path: str, what: str, entry: BaseModel, text: str) -> Change:
    reach: Reach = "new" if what == "campaign" else "joining"
    return Change(path, "added", what, reach, None, _plain(entry), after_text=text)


def _plain(entry: BaseModel) -> object:
    return entry.model_dump(mode="json", exclude_none=True)


def _summary(template: CampaignTemplate) -> str:
    return f"{offer_text(template.offer)} for {template.pattern}, {template.days} days"


def _names(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _fields(
    before: BaseModel, after: BaseModel, path: str, section: str, leave_out: Iterable[str] = ()
) -> list[Change]:
    names = [name for name in type(before).model_fields if name not in leave_out]
    return _of_fields(before, after, names, path, section)


def _of_fields(
    before: BaseModel, after: BaseModel, names: Sequence[str], path: str, section: str
) -> list[Change]:
    described = type(before).model_fields
    old, new = (entry.model_dump(mode="json", exclude_none=True) for entry in (before, after))
    return [
        Change(
            path=f"{path}.{name}".lstrip("."),
            kind="changed",
            what=described[name].description or name,
            reach=_reach(section, name),
            before=old.get(name),
            after=new.get(name),
            before_text=value_text(name, getattr(before, name)),
            after_text=value_text(name, getattr(after, name)),
        )
        for name in names
        if _meaning(getattr(before, name)) != _meaning(getattr(after, name))
    ]


def _meaning(value: object) -> object:
    return value.meaning if isinstance(value, Rule) else value


def _reach(section: str, name: str) -> Reach:
    place = f"{section}.{name}".lstrip(".")
    return _REACH_OF.get(place) or _REACH_OF.get(section) or "new"
