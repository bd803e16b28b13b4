"""The policy: patterns, campaign templates with their offers, what manual campaigns get, and limits.

Shapes and the checks that need nothing but the policy itself. Conditions and rules belong in
`rules.py`, reading the file and naming its lines in `load.py`.
"""

import hashlib
import json
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from marketing_assets.policy.rules import AnyOf, Condition, Rule
from marketing_assets.policy.values import (
    Amount,
    AtLeastOne,
    AtLeastZero,
    CampaignType,
    Days,
    Flag,
    Line,
    Number,
    PatternName,
    PolicyModel,
    PositiveShare,
    Problem,
    Share,
    TemplateName,
    refuse,
    repeated,
)

__all__ = [
    "AnyOf",
    "CampaignTemplate",
    "CampaignTerms",
    "Checks",
    "Condition",
    "Limits",
    "ManualDefaults",
    "Offer",
    "Pattern",
    "Policy",
    "Rule",
]


class Pattern(PolicyModel):
    """One way to behave. `label` is what the app shows; the best (lowest) rank is a user's primary."""

    name: PatternName
    label: Line
    rank: AtLeastOne
    rule: Rule


class Offer(PolicyModel):
    """What a target is promised. `at` ties it to the user's own top location or category.

    `value` is percent of the amount, money, or points per unit of currency, as `unit` says.
    """

    type: Literal["discount", "cashback", "points", "bonus"]
    value: Amount
    unit: Literal["percentage", "fixed", "multiplier"]
    at: Literal["top_location", "top_category"] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = []
        if self.unit == "percentage" and self.value > 100:  # noqa: PLR2004 - a percentage ends there
            problems.append(Problem(("value",), f"a percentage is at most 100, not {self.value}"))
        if (self.unit == "multiplier") != (self.type == "points"):
            problems.append(Problem(("unit",), "points are a multiplier, and nothing else is"))
        refuse(problems)
        return self


class CampaignTerms(PolicyModel):
    """What every campaign has, automatic or manual: how it rewards, and how it is measured.

    `max_reward` is money per target, `holdout_share` the share of candidates kept as control,
    `expected_conversion` the share of targets that a budget counts on, `margin` what is earned of a
    unit of revenue.
    """

    reward_for: Literal["every_purchase", "first_purchase"]
    max_reward: Amount | None = None
    cooldown_days: Annotated[AtLeastZero, Field(le=3660)] = 0
    holdout_share: Share = Decimal("0.1")
    expected_conversion: PositiveShare = Decimal("0.05")
    margin: PositiveShare = Decimal(1)
    rewards: Literal["app", "automatic"] = "app"
    amount_is: Literal["gross", "net"] = "gross"
    pause_when_losing: Flag = True


class CampaignTemplate(CampaignTerms):
    """A campaign that opens by itself for a pattern; its id is `template-start day`.

    Running times are days. `budget` is money per campaign, null for no limit; `min_audience` null
    takes the one of the limits; `renamed_from` is the template whose history this one continues.
    """

    template: TemplateName
    type: CampaignType
    pattern: PatternName
    name: Line
    description: Line
    offer: Offer
    days: Days
    priority: AtLeastOne
    attribution_days: Days
    budget: Amount | None = None
    renamed_from: TemplateName | None = None
    min_audience: AtLeastOne | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = [
            Problem((key,), f"{name!r} may not begin with 'global' or 'manual': those ids are reserved")
            for key, name in (("template", self.template), ("renamed_from", self.renamed_from))
            if name and name.startswith(("global", "manual"))
        ]
        if self.type == "manual":
            problems.append(Problem(("type",), "'manual' is the type of campaigns created by hand"))
        if self.attribution_days > self.days:
            message = f"{self.attribution_days} days are longer than the campaign ({self.days})"
            problems.append(Problem(("attribution_days",), message))
        refuse(problems + self._money_problems())
        return self

    def _money_problems(self) -> list[Problem]:
        offer, problems = self.offer, []
        largest = self.max_reward or offer.value
        if self.max_reward is None and offer.unit != "fixed":
            problems.append(Problem(("max_reward",), f"is missing: a {offer.unit} offer needs one"))
        if offer.unit == "fixed" and largest < offer.value:
            message = f"{largest} is less than the fixed reward of {offer.value}"
            problems.append(Problem(("max_reward",), message))
        if self.budget is not None and self.budget < largest:
            message = f"{self.budget} does not cover what one target may earn ({largest})"
            problems.append(Problem(("budget",), message))
        # Net amounts are divided by 1 - percentage to find what was bought.
        if self.amount_is == "net" and offer.unit == "percentage" and offer.value == 100:  # noqa: PLR2004
            problems.append(Problem(("amount_is",), "net amounts of a 100 percent offer are always 0"))
        return problems


class ManualDefaults(CampaignTerms):
    """What a campaign created by hand gets where its author says nothing."""

    type: Literal["manual"] = "manual"
    priority: AtLeastOne = 8
    reward_for: Literal["every_purchase", "first_purchase"] = "first_purchase"
    max_reward: Amount | None = Decimal(25)
    max_attribution_days: Days = 14

    def attribution_days(self, days: int) -> int:
        """Length in days of the measurement window of a manual campaign that runs `days` days."""
        return min(self.max_attribution_days, (days + 1) // 2)


class Limits(PolicyModel):
    """Bounds of a night, of a user and of a verdict. Counts are users, campaigns or days."""

    min_audience: AtLeastOne = 20
    max_new_campaigns: AtLeastZero = 7
    max_active_campaigns: AtLeastZero = 3
    min_days_left: Days = 7
    global_holdout_share: Share = Decimal("0.05")
    max_cost_share: PositiveShare = Decimal("0.05")
    min_arm: AtLeastOne = 100
    min_converters: AtLeastOne = 200
    settle_after_hours: AtLeastZero = 48
    settle_wait_days: AtLeastZero = 14
    reward_release_days: AtLeastOne = 7
    suppression_days: AtLeastZero = 30
    archive_after_days: AtLeastZero = 30


class Checks(PolicyModel):
    """From which jump on a night is worth a warning. None of these decides anything.

    `volume_change` and `users_change` are shares of what was expected, `pattern_share_change` a part of
    all users (0.05 = five points), `arm_deviations` standard deviations.
    """

    volume_change: Annotated[Number, Field(gt=0, le=10)] = Decimal("0.5")
    users_change: Annotated[Number, Field(gt=0, le=10)] = Decimal("0.1")
    pattern_share_change: PositiveShare = Decimal("0.05")
    arm_deviations: Annotated[Number, Field(ge=3, le=8)] = Decimal(4)


class Policy(PolicyModel):
    """Everything marketing decides. Patterns stand by rank, campaigns by (priority, template).

    The order in the file means nothing. `point_value` is what one point costs, in currency.
    """

    patterns: tuple[Pattern, ...]
    campaigns: tuple[CampaignTemplate, ...]
    manual_defaults: ManualDefaults = ManualDefaults()
    limits: Limits = Limits()
    checks: Checks = Checks()
    point_value: Annotated[Number, Field(gt=0, le=1_000_000)] = Decimal("0.001")

    @property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 of what decides; comments, layout and `checks` do not count."""
        content = self.model_dump(mode="json", exclude_none=True, exclude={"checks"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @field_validator("patterns")
    @classmethod
    def _patterns_differ(cls, patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
        if not patterns:
            refuse([Problem((), "needs at least one pattern")])
        names, ranks = [pattern.name for pattern in patterns], [pattern.rank for pattern in patterns]
        refuse(repeated(names, "name") + repeated(ranks, "rank"))
        return tuple(sorted(patterns, key=lambda pattern: pattern.rank))

    @field_validator("campaigns")
    @classmethod
    def _campaigns_fit(
        cls, campaigns: tuple[CampaignTemplate, ...], info: ValidationInfo
    ) -> tuple[CampaignTemplate, ...]:
        templates = [campaign.template for campaign in campaigns]
        earlier = [campaign.renamed_from or index for index, campaign in enumerate(campaigns)]
        problems = repeated(templates, "template") + repeated(earlier, "renamed_from")
        problems += [
            Problem((index, "renamed_from"), f"{name!r} is still a template of this policy")
            for index, name in enumerate(earlier)
            if name in templates
        ]
        # Absent where the patterns themselves are wrong, which is then said of them.
        patterns: tuple[Pattern, ...] | None = info.data.get("patterns")
        if patterns is not None:
            known = [pattern.name for pattern in patterns]
            problems += [
                Problem((index, "pattern"), f"no pattern is called {campaign.pattern!r}", tuple(known))
                for index, campaign in enumerate(campaigns)
                if campaign.pattern not in known
            ]
        refuse(problems)
        return tuple(sorted(campaigns, key=lambda campaign: (campaign.priority, campaign.template)))
