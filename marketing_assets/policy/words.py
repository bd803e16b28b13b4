"""A policy in the words that a marketer uses: rules, offers and single values.

For people only; nothing is decided by these texts. How a table is drawn is the command's part.
"""

from decimal import Decimal

from marketing_assets.domain.offers import plain
from marketing_assets.policy.model import Offer
from marketing_assets.policy.rules import Condition, Operator, Rule

FEATURES = {
    "transactions": "purchases",
    "active_days": "days with a purchase",
    "days_since_last": "days since the last purchase",
    "locations": "locations",
    "categories": "categories",
    "spend": "spend",
    "average_order": "average order",
    "spend_recent": "spend of the last 30 days",
    "spend_prior": "spend before the last 30 days",
    "top_location_share": "share of purchases at the top location",
    "top_category_share": "share of purchases in the top category",
    "spend_trend": "change of spend per day",
    "top_location": "top location",
    "top_category": "top category",
}
"""What each feature of a condition is called; counts have a word for one of them below."""

_ONE = {
    "transactions": "purchase",
    "active_days": "day with a purchase",
    "days_since_last": "day since the last purchase",
    "locations": "location",
    "categories": "category",
}
_OPERATORS: dict[Operator, str] = {
    "at_least": "at least",
    "at_most": "at most",
    "above": "more than",
    "below": "less than",
    "equals": "exactly",
}
# Fields and features that are shares, and are said in percent; names of choices that are said as words.
_SHARES = (
    "top_location_share",
    "top_category_share",
    "holdout_share",
    "expected_conversion",
    "margin",
    "global_holdout_share",
    "max_cost_share",
    "volume_change",
    "users_change",
    "pattern_share_change",
)
_CHOICES = ("reward_for", "at")
_NONE = {"budget": "no limit", "max_reward": "no limit", "min_audience": "the one under limits"}


def rule_text(rule: Rule) -> str:
    """Who has a pattern: `spend at least 5000 and (more than 4 purchases or ...)`."""
    groups = [" or ".join(condition_text(condition) for condition in group) for group in rule.groups]
    if len(groups) > 1:
        pairs = zip(groups, rule.groups, strict=True)
        groups = [f"({text})" if len(group) > 1 else text for text, group in pairs]
    return " and ".join(groups) or "every user"


def condition_text(condition: Condition) -> str:
    """One comparison: `spend at least 5000`, `fewer than 5 purchases`, `the top 5% by spend`."""
    feature, value = FEATURES[condition.feature], condition.value
    if isinstance(value, str):
        return f'{feature} "{value}"'
    if condition.operator == "top_percent":
        return f"the top {plain(value)}% by {feature}"
    shown = plain(value)
    if condition.feature in _ONE:
        noun = _ONE[condition.feature] if value == 1 else feature
        return f"{_OPERATORS[condition.operator].replace('less', 'fewer')} {shown} {noun}"
    if condition.feature == "spend_trend":
        shown = f"{'+' if value > 0 else ''}{percent(value)}"
    elif condition.feature in _SHARES:
        shown = percent(value)
    return f"{feature} {_OPERATORS[condition.operator]} {shown}"


def offer_text(offer: Offer) -> str:
    """An offer in words: `cashback 5%`, `bonus 50`, `10 points per unit`, and where it holds."""
    value = plain(offer.value)
    words = {
        "percentage": f"{offer.type} {value}%",
        "fixed": f"{offer.type} {value}",
        "multiplier": f"{value} points per unit",
    }[offer.unit]
    place = {None: "", "top_location": " at their top location", "top_category": " in their top category"}
    return words + place[offer.at]


def percent(share: Decimal) -> str:
    """A share in percent: `10%`, `2.5%`."""
    return f"{plain(share * 100)}%"


def value_text(name: str, value: object) -> str:
    """The value of a policy's field called `name`, as people read it."""
    if value is None:
        return _NONE.get(name, "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return percent(value) if name in _SHARES else plain(value)
    if isinstance(value, Rule):
        return rule_text(value)
    if isinstance(value, Offer):
        return offer_text(value)
    return str(value).replace("_", " ") if name in _CHOICES else str(value)
