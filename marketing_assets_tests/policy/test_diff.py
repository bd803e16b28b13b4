"""What changed between two policies, where, in words, and whom it reaches."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from marketing_assets.policy import load
from marketing_assets.policy.diff import REACHES, Change, changes
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import CampaignTemplate, Checks, Limits, ManualDefaults, Pattern, Policy

DEFAULT = Path(load.__file__).with_name("default.yaml").read_text(encoding="utf-8")


def edited(tmp_path: Path, *edits: tuple[str, str]) -> Policy:
    """The default policy with texts of its file replaced."""
    text = DEFAULT
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def told(change: Change) -> tuple[str, str, str, str, str]:
    return change.path, change.kind, change.before_text, change.after_text, change.reach


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "at_least: 5000}\n\n",
            "at_least: 6000}\n\n",
            ("patterns.high_spender.rule", "spend at least 5000", "spend at least 6000", "joining"),
        ),
        ("Rising Star", "Climber", ("patterns.seasonal.label", "Rising Star", "Climber", "shown")),
        ("rank: 7", "rank: 9", ("patterns.general.rank", "7", "9", "shown")),
        (
            "cashback, value: 5",
            "cashback, value: 7.50",
            ("campaigns.vip-rewards.offer", "cashback 5%", "cashback 7.5%", "new"),
        ),
        (
            "max_reward: 250\n",
            "max_reward: 250\n    budget: 9000\n",
            ("campaigns.vip-rewards.budget", "no limit", "9000", "new"),
        ),
        (
            "purchase at {location}.",
            "purchase in {location}.",
            (
                "campaigns.location-promo.description",
                "Save {offer} on your next purchase at {location}.",
                "Save {offer} on your next purchase in {location}.",
                "new",
            ),
        ),
        (
            "max_active_campaigns: 3",
            "max_active_campaigns: 0",
            ("limits.max_active_campaigns", "3", "0", "joining"),
        ),
        ("min_audience: 20 ", "min_audience: 30 ", ("limits.min_audience", "20", "30", "new")),
        (
            "global_holdout_share: 0.05",
            "global_holdout_share: 0.1",
            ("limits.global_holdout_share", "5%", "10%", "yearly"),
        ),
        ("min_arm: 100", "min_arm: 200", ("limits.min_arm", "100", "200", "figures")),
        ("point_value: 0.001", "point_value: 0.002", ("point_value", "0.001", "0.002", "figures")),
        ("priority: 8 ", "priority: 9 ", ("manual_defaults.priority", "8", "9", "manual")),
        ("users_change: 0.1 ", "users_change: 0.2 ", ("checks.users_change", "10%", "20%", "warnings")),
    ],
)
def test_one_change_is_one_line(
    tmp_path: Path, old: str, new: str, expected: tuple[str, str, str, str]
) -> None:
    [change] = changes(load_policy(None), edited(tmp_path, (old, new)))
    path, before, after, reach = expected
    assert told(change) == (path, "changed", before, after, reach)
    assert change.what


def test_values_are_there_for_programs_too(tmp_path: Path) -> None:
    after = edited(tmp_path, ("cashback, value: 5", "cashback, value: 7"), ("min_arm: 100", "min_arm: 200"))
    offer, arm = changes(load_policy(None), after)
    assert offer.before == {"type": "cashback", "value": "5", "unit": "percentage"}
    assert (arm.before, arm.after) == (100, 200)


def test_templates_come_and_go(tmp_path: Path) -> None:
    start, end = DEFAULT.index("  - template: re-engagement"), DEFAULT.index("  - template: location-promo")
    without = edited(tmp_path, (DEFAULT[start:end], ""))
    [removed] = changes(load_policy(None), without)
    summary = "discount 20% for inactive, 14 days"
    assert told(removed) == ("campaigns.re-engagement", "removed", summary, "", "joining")
    assert removed.after is None
    [added] = changes(without, load_policy(None))
    assert told(added) == ("campaigns.re-engagement", "added", "", summary, "new")
    assert isinstance(added.after, dict)
    assert added.after["days"] == 14


def test_a_renamed_template_is_the_same_one(tmp_path: Path) -> None:
    new = "template: hello\n    renamed_from: welcome-bonus"
    renamed = edited(tmp_path, ("template: welcome-bonus", new), ("days: 21", "days: 28"))
    assert [told(change) for change in changes(load_policy(None), renamed)] == [
        ("campaigns.hello", "renamed", "welcome-bonus", "hello", "new"),
        ("campaigns.hello.days", "changed", "21", "28", "new"),
    ]
    lost = edited(tmp_path, ("template: welcome-bonus", "template: hello"))
    assert [change.kind for change in changes(load_policy(None), lost)] == ["removed", "added"]
    assert [told(change)[:4] for change in changes(renamed, edited(tmp_path))] == [
        ("campaigns.hello", "removed", "discount 25% for new_shopper, 28 days", ""),
        ("campaigns.welcome-bonus", "added", "", "discount 25% for new_shopper, 21 days"),
    ]


def test_patterns_come_and_go(tmp_path: Path) -> None:
    vip = "  - {name: vip, label: Vip, rank: 8, rule: [{feature: spend, top_percent: 1}]}\n\ncampaigns:"
    with_vip = edited(tmp_path, ("\ncampaigns:", vip))
    [added] = changes(load_policy(None), with_vip)
    assert told(added) == ("patterns.vip", "added", "", "the top 1% by spend", "joining")
    [removed] = changes(with_vip, load_policy(None))
    assert told(removed) == ("patterns.vip", "removed", "the top 1% by spend", "", "joining")


def test_order_comments_and_layout_are_no_change(tmp_path: Path) -> None:
    patterns, campaigns = DEFAULT.index("patterns:\n"), DEFAULT.index("campaigns:\n")
    manual = DEFAULT.index("manual_defaults:")
    entries = DEFAULT[campaigns:manual].split("  - template:")
    shuffled = [
        entries[0].split("\n")[0] + "\n",
        *(f"  - template:{entry}" for entry in reversed(entries[1:])),
    ]
    path = tmp_path / "policy.yaml"
    path.write_text("".join(shuffled) + DEFAULT[patterns:campaigns] + DEFAULT[manual:], encoding="utf-8")
    other = load_policy(path)
    assert changes(load_policy(None), other) == []
    assert other.version == load_policy(None).version


def test_the_order_of_conditions_is_no_change_either(tmp_path: Path) -> None:
    least, most = "      - {feature: locations, at_least: 1}\n", "      - {feature: locations, at_most: 2}\n"
    swapped = edited(tmp_path, (least + most, most + least))
    assert changes(load_policy(None), swapped) == []
    assert swapped.version == load_policy(None).version
    wrapped = edited(tmp_path, (most, "      - any_of: [{feature: locations, at_most: 2}]\n"))
    assert changes(load_policy(None), wrapped) == []
    assert wrapped.version == load_policy(None).version


def test_every_setting_is_described() -> None:
    models: list[type[BaseModel]] = [Pattern, CampaignTemplate, ManualDefaults, Limits, Checks, Policy]
    silent = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert silent == []
    assert all(REACHES.values())
