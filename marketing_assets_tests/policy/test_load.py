"""Reading policy files: the packaged one, exact numbers, and every mistake at its line."""

from decimal import Decimal
from pathlib import Path

import pytest

from marketing_assets.errors import PolicyError
from marketing_assets.policy import load
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import CampaignTemplate, Checks, Limits, ManualDefaults

DEFAULT = Path(load.__file__).with_name("default.yaml").read_text(encoding="utf-8")

SMALL = """\
patterns:
  - {name: everybody, label: Member, rank: 1, rule: []}
campaigns: []
"""


def read(tmp_path: Path, text: str | bytes) -> list[str]:
    """The lines of the error that a file gives, each without the path of the file."""
    path = tmp_path / "policy.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PolicyError) as refused:
        load_policy(path)
    assert "default.yaml" in refused.value.remedy
    return [line.removeprefix(f"{path}:") for line in refused.value.message.splitlines()]


def campaign_line(campaign: CampaignTemplate) -> str:
    """One line of the table of campaigns in SEMANTICS."""
    offer = campaign.offer
    who = [campaign.template, campaign.type, campaign.pattern]
    what = [offer.type, offer.value, offer.unit, offer.at, campaign.days, campaign.priority]
    terms = [campaign.reward_for, campaign.max_reward, campaign.cooldown_days, campaign.attribution_days]
    return " ".join(str(value) for value in [*who, *what, *terms])


def changed(old: str, new: str) -> str:
    assert DEFAULT.count(old) == 1
    return DEFAULT.replace(old, new)


def test_the_default_policy_is_the_one_described() -> None:
    policy = load_policy(None)
    rules = {
        pattern.name: [(c.feature, c.operator, c.value) for group in pattern.rule.groups for c in group]
        for pattern in policy.patterns
    }
    assert rules == {
        "high_spender": [("spend", "at_least", 5000)],
        "inactive": [("days_since_last", "at_least", 30)],
        "new_shopper": [("transactions", "below", 5)],
        "seasonal": [("spend_trend", "at_least", Decimal("0.5"))],
        "frequent_shopper": [("transactions", "at_least", 20)],
        "location_cluster": [("locations", "at_least", 1), ("locations", "at_most", 2)],
        "general": [],
    }
    assert [(pattern.label, pattern.rank) for pattern in policy.patterns] == [
        ("High Spender", 1),
        ("We Miss You", 2),
        ("New Shopper", 3),
        ("Rising Star", 4),
        ("Frequent Shopper", 5),
        ("Local Regular", 6),
        ("Member", 7),
    ]
    assert [campaign_line(campaign) for campaign in policy.campaigns] == [
        "vip-rewards vip high_spender cashback 5 percentage None 30 1 every_purchase 250 0 14",
        "milestone-reward milestone seasonal bonus 50 fixed None 90 2 first_purchase 50 90 14",
        "loyalty-bonus loyalty frequent_shopper points 10 multiplier None 60 3 every_purchase 50 0 14",
        "welcome-bonus welcome new_shopper discount 25 percentage None 21 4 first_purchase 25 365 7",
        "re-engagement reengagement inactive discount 20 percentage None 14 5 first_purchase 25 30 7",
        "location-promo location location_cluster discount 15 percentage top_location "
        "30 6 first_purchase 25 0 14",
        "category-focus category general discount 10 percentage top_category 30 7 first_purchase 25 0 14",
    ]
    assert policy.point_value == Decimal("0.001")


def test_the_default_file_and_the_defaults_of_the_model_agree() -> None:
    assert load_policy(None).limits == Limits()
    assert load_policy(None).manual_defaults == ManualDefaults()
    assert load_policy(None).checks == Checks()


def test_what_is_worth_a_warning_is_no_part_of_the_version(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(changed("users_change: 0.1 ", "users_change: 0.3 "), encoding="utf-8")
    assert load_policy(path).checks.users_change == Decimal("0.3")
    assert load_policy(path).version == load_policy(None).version


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("users_change: 0.1 ", "users_change: 0 ", "checks.users_change: should be greater than 0"),
        (
            "pattern_share_change: 0.05",
            "pattern_share_change: 1.5",
            "checks.pattern_share_change: should be less than or equal to 1",
        ),
        ("arm_deviations: 4", "arm_deviations: 1", "checks.arm_deviations: should be greater than or equal"),
        (
            "arm_deviations: 4",
            "arm_deviation: 4",
            "checks.arm_deviation: is not known; did you mean arm_devia",
        ),
    ],
)
def test_a_check_that_makes_no_sense_is_named(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(changed(right, wrong), encoding="utf-8")
    with pytest.raises(PolicyError) as raised:
        load_policy(path)
    assert says in str(raised.value)


def test_comments_and_layout_do_not_change_the_version(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(changed("max_reward: 250", "max_reward:   250.00 # a comment"), encoding="utf-8-sig")
    assert load_policy(path).version == load_policy(None).version
    path.write_text(changed("max_reward: 250", "max_reward: 251"), encoding="utf-8")
    assert load_policy(path).version != load_policy(None).version


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", "0.1"),
        ("0.300000", "0.3"),
        (".5", "0.5"),
        ("5e-1", "0.5"),
        ("0.123456", "0.123456"),
        ("'0.2'", "0.2"),
        ("1.", "1"),
        ("00.25", "0.25"),
    ],
)
def test_numbers_are_the_decimals_that_are_written(tmp_path: Path, text: str, value: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(SMALL + f"limits: {{global_holdout_share: {text}}}\n", encoding="utf-8")
    assert load_policy(path).limits.global_holdout_share.as_tuple() == Decimal(value).as_tuple()


def test_words_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    rule = "[{feature: top_category, equals: no}, {feature: top_location, equals: 12:30}]"
    path.write_text(SMALL.replace("[]", rule, 1), encoding="utf-8")
    groups = load_policy(path).patterns[0].rule.groups
    assert [condition.value for group in groups for condition in group] == ["no", "12:30"]


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
patterns:
  - name: a
    label: A
    rank: 1
    rank: 2
    rule:
      - {feature: spent, at_least: 5}
      - any_of:
          - {feature: transactions, at_leats: 5}
          - {feature: transactions, above: 2.5}
      - spend
campaigns:
  - template: x
    type: vip
    pattern: a
    descripton: Y
    name: X
    offer: {type: discont, value: 10, unit: percentage}
    days: 400
    priority: "1"
    reward_for: first_purchase
    attribution_days: 7
    holdout_share: -0.1
    pause_when_losing: yes
limits: {min_arm: !!int 5}
"""
    told = read(tmp_path, text)
    assert (
        "7:19: patterns[0].rule[0].feature: 'spent' is not known; did you mean spend? (allowed: transa"
        in told[1]
    )
    assert "16:5: campaigns[0].descripton: is not known; did you mean description? (allowed: " in told[6]
    assert [*told[:1], *told[2:6], *told[7:]] == [
        "5:5: patterns[0].rank: is given twice, first in line 4",
        "9:37: patterns[0].rule[1].any_of[0].at_leats: is not known; did you mean at_least? "
        "(allowed: feature, at_least, at_most, above, below, equals, top_percent)",
        "10:44: patterns[0].rule[1].any_of[1].above: transactions has no decimal places, 2.5 has 1",
        "11:9: patterns[0].rule[2]: should be a mapping (key: value), not 'spend'",
        "13:5: campaigns[0].description: is missing",
        "18:19: campaigns[0].offer.type: 'discont' is not known; did you mean discount? "
        "(allowed: discount, cashback, points, bonus)",
        "19:11: campaigns[0].days: should be less than or equal to 366, not 400",
        "20:15: campaigns[0].priority: should be a valid integer, not '1'",
        "23:20: campaigns[0].holdout_share: should be greater than or equal to 0, not -0.1",
        "24:24: campaigns[0].pause_when_losing: should be a valid boolean, not 'yes'",
        "25:19: limits.min_arm: has the tag tag:yaml.org,2002:int; tags are not supported",
    ]


def test_an_unknown_feature_lists_all_of_them(tmp_path: Path) -> None:
    [told] = read(tmp_path, changed("feature: days_since_last", "feature: days_since_lst"))
    assert told.endswith(
        "patterns[1].rule[0].feature: 'days_since_lst' is not known; did you mean days_since_last? (allowed: "
        "transactions, active_days, days_since_last, locations, categories, spend, average_order, "
        "spend_recent, spend_prior, top_location_share, top_category_share, spend_trend, "
        "top_location, top_category)"
    )


def test_checks_between_entries_have_lines_too(tmp_path: Path) -> None:
    [told] = read(tmp_path, changed("pattern: seasonal", "pattern: sesonal"))
    line = DEFAULT[: DEFAULT.index("pattern: seasonal")].count("\n") + 1
    assert told.startswith(
        f"{line}:14: campaigns[1].pattern: no pattern is called 'sesonal' (allowed: high_spender, "
    )
    [told] = read(
        tmp_path, changed("offer: {type: cashback, value: 5,", "offer: {type: cashback, value: 500,")
    )
    assert told.endswith("campaigns[0].offer.value: a percentage is at most 100, not 500")
    [told] = read(tmp_path, changed("    max_reward: 250\n", ""))
    assert told.endswith("campaigns[0].max_reward: is missing: a percentage offer needs one")
    [told] = read(tmp_path, changed("feature: spend_trend, at_least: 0.5", "feature: spend_trend"))
    assert told.endswith(
        "patterns[3].rule[0]: needs exactly one of at_least, at_most, above, below, equals, top_percent; "
        "found: none"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "column", "says"),
    [
        (
            "description: Save {offer} on your next purchase at {location}.",
            "description: Save {offr} on your next purchase at {location}.",
            18,
            "campaigns[5].description: {offr} is not known; did you mean {offer}? "
            "(allowed: {offer}, {location}, {max_reward}, {currency})",
        ),
        (
            "name: VIP Rewards",
            "name: VIP Rewards at {location}",
            11,
            "campaigns[0].name: {location} needs an offer with at: top_location "
            "(allowed: {offer}, {max_reward}, {currency})",
        ),
        (
            "description: Save {offer} on your next purchase at {location}.",
            "description: '{location.__class__}'",
            18,
            "campaigns[5].description: {location.__class__} is not known; did you mean {location}? "
            "(allowed: {offer}, {location}, {max_reward}, {currency})",
        ),
        (
            "feature: days_since_last, at_least: 30",
            "feature: days_since_last, at_least: 1000",
            46,
            "patterns[1].rule[0].at_least: days_since_last lies between 0 and 119 in a window of 120 days, "
            "1000 does not",
        ),
        (
            "feature: transactions, below: 5",
            "feature: transactions, at_least: 1",
            43,
            "patterns[2].rule[0].at_least: transactions is at_least 1 for every user: "
            "leave this condition out",
        ),
        (
            "{feature: locations, at_most: 2}",
            "{feature: locations, below: 1}",
            9,
            "patterns[5].rule[1]: locations below 1 and locations at_least 1 (entry 1) never hold together",
        ),
        (
            "    max_reward: 250\n",
            "    max_reward: 250\n    budget: 249\n",
            13,
            "campaigns[0].budget: 249 does not cover what one target may earn (250)",
        ),
        (
            "global_holdout_share: 0.05",
            "global_holdout_share: 1.05",
            25,
            "limits.global_holdout_share: should be less than or equal to 1, not 1.05",
        ),
        (
            "suppression_days: 30",
            "suppression_days: 1000000000",
            21,
            "limits.suppression_days: should be less than or equal to 3660, not 1000000000",
        ),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(
    tmp_path: Path, right: str, wrong: str, column: int, says: str
) -> None:
    [told] = read(tmp_path, changed(right, wrong))
    at = DEFAULT.index(right)
    line = DEFAULT[:at].count("\n") + 1 + wrong.rstrip("\n").count("\n")
    assert told == f"{line}:{column}: {says}"


def test_a_policy_is_for_a_window(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    text = changed("feature: days_since_last, at_least: 30", "feature: days_since_last, at_least: 90")
    path.write_text(text, encoding="utf-8")
    load_policy(path)
    load_policy(path, window_days=91)
    with pytest.raises(PolicyError, match="between 0 and 89 in a window of 90 days, 90 does not"):
        load_policy(path, window_days=90)
    load_policy(None, window_days=31)


def test_the_texts_of_the_default_name_the_users_own_place_and_category() -> None:
    texts = {template.template: template.description for template in load_policy(None).campaigns}
    assert texts["location-promo"] == "Save {offer} on your next purchase at {location}."
    assert texts["category-focus"] == "Save {offer} on your next purchase in {category}."
    assert texts["vip-rewards"].endswith("Get {offer} cashback on everything you buy.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: is empty; a policy has at least patterns and campaigns"),
        ("# nothing\n", "1:1: is empty; a policy has at least patterns and campaigns"),
        ("- a\n", "1:1: should be a mapping (key: value)"),
        ("just words", "1:1: should be a mapping (key: value), not 'just words'"),
        ("patterns: [\n", "2:1: is not valid YAML: while parsing a flow node, "),
        ("a: b: c\n", "1:5: is not valid YAML: mapping values are not allowed here"),
        ("\ta: 1\n", "1:1: is not valid YAML: while scanning for the next token, "),
        ("a: &x [1]\nb: *x\n", "2:4: is not valid YAML: aliases (*name) are not supported"),
        ("a: 1\n---\nb: 1\n", "2:1: is not valid YAML: expected a single document in the stream, "),
        ("a: 1\nb: \x01\n", "2:4: holds a character that YAML does not allow"),
        (b"a: 1\nb: \xff\n", "2:1: is not UTF-8 text"),
        ("[" * 1000, "1:1: is nested too deeply"),
    ],
)
def test_files_that_are_no_policy(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert read(tmp_path, text)[0].startswith(told)


def test_keys_that_are_no_words(tmp_path: Path) -> None:
    told = read(tmp_path, SMALL + '? [a]\n: 1\n"a\\nb": 1\n<<: {limits: {}}\n<text>: 1\n')
    assert [line.split(" (allowed")[0] for line in told] == [
        "4:3: has a key that is not a word",
        "6:1: 'a\\nb': is not known",
        "7:1: '<<': is not known",
        "8:1: '<text>': is not known",
    ]


def test_tags_never_make_objects(tmp_path: Path) -> None:
    told = read(tmp_path, SMALL + 'point_value: !!python/object/apply:os.system ["true"]\n')
    assert "tags are not supported" in told[0]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file") as refused:
        load_policy(tmp_path / "missing.yaml")
    assert "MARKETING_POLICY" in refused.value.remedy
    with pytest.raises(PolicyError, match="Is a directory"):
        load_policy(tmp_path)
