"""What changed between two policies, by place in the file, and whom each change reaches.

Compares content: entries are known by their names, so that their order, comments and layout mean nothing.
How a change is printed is the command's part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from marketing_assets.policy.model import CampaignTemplate, Policy
from marketing_assets.policy.rules import Rule
from marketing_assets.policy.words import value_text

Kind = Literal["changed", "added", "removed", "renamed"]
Reach = Literal["new", "joining", "shown", "figures", "yearly", "manual", "warnings"]

REACHES: dict[Reach, str] = {
    "new": "Campaigns that open from the next night on; open ones keep the terms they opened with",
    "joining": "Who joins from the next night on, open campaigns too; whoever is in stays, with the same terms",
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
    """One difference: where, what it is called, and the values before and after in words.

    `before` is None where something was added, `after` where it was removed.
    """

    path: str
    kind: Kind
    what: str
    before: str | None
    after: str | None
    reach: Reach


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
            said = value_text("rule", old[name].rule)
            yield Change(path, "removed", "pattern", said, None, "joining")
        elif name not in old:
            said = value_text("rule", new[name].rule)
            yield Change(path, "added", "pattern", None, said, "joining")
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
        path = f"campaigns.{name}"
        if name in old and name not in new and name not in renamed:
            yield Change(path, "removed", "campaign", _summary(old[name]), None, "joining")
        elif name in old:
            now = renamed.get(name, name)
            known: tuple[str, ...] = ("template",)
            if now != name:
                yield Change(path, "renamed", "name of the template", name, now, "new")
                known = ("template", "renamed_from")
            yield from _fields(old[name], new[now], f"campaigns.{now}", "campaigns", leave_out=known)
        elif name not in renamed.values():
            yield Change(path, "added", "campaign", None, _summary(new[name]), "new")


def _summary(template: CampaignTemplate) -> str:
    offer = value_text("offer", template.offer)
    return f"{offer} for {template.pattern}, {template.days} days"


def _names(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys([*old, *new]))


def _fields(
    before: BaseModel, after: BaseModel, path: str, section: str, leave_out: tuple[str, ...] = ()
) -> list[Change]:
    names = [name for name in type(before).model_fields if name not in leave_out]
    return _of_fields(before, after, names, path, section)


def _of_fields(
    before: BaseModel, after: BaseModel, names: Iterable[str], path: str, section: str
) -> list[Change]:
    described = type(before).model_fields
    return [
        Change(
            path=f"{path}.{name}".lstrip("."),
            kind="changed",
            what=described[name].description or name,
            before=value_text(name, getattr(before, name)),
            after=value_text(name, getattr(after, name)),
            reach=_reach(section, name),
        )
        for name in names
        if _meaning(getattr(before, name)) != _meaning(getattr(after, name))
    ]


def _meaning(value: object) -> object:
    return value.meaning if isinstance(value, Rule) else value


def _reach(section: str, name: str) -> Reach:
    place = f"{section}.{name}".lstrip(".")
    return _REACH_OF.get(place) or _REACH_OF.get(section) or "new"
