"""The policy: patterns, campaign templates with their offers, what manual campaigns get, and limits.

Shapes and the checks that need nothing but the policy itself. Conditions and rules belong in
`rules.py`, reading the file and naming its lines in `load.py`.
"""

import hashlib
import json
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from marketing_assets.domain.offers import text_problems
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
    Wait,
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
    "ManualCampaign",
    "ManualDefaults",
    "Offer",
    "Pattern",
    "Policy",
    "Rule",
    "frozen_terms",
]


class Pattern(PolicyModel):
    """One way to behave. `label` is what the app shows; the best (lowest) rank is a user's primary."""

    name: PatternName = Field(description="what campaigns refer to")
    label: Line = Field(description="what the app shows")
    rank: AtLeastOne = Field(description="rank; of several patterns the app shows the one with the lowest")
    rule: Rule = Field(description="who has it")


class Offer(PolicyModel):
    """What a target is promised. `at` ties it to the user's own top location or category.

    `value` is percent of the amount, money, or points per unit of currency, as `unit` says.
    """

    type: Literal["discount", "cashback", "points", "bonus"] = Field(description="kind of offer")
    value: Amount = Field(description="value of the offer")
    unit: Literal["percentage", "fixed", "multiplier"] = Field(
        description="percentage of the amount, fixed money, or multiplier: points per unit spent"
    )
    at: Literal["top_location", "top_category"] | None = Field(None, description="where the offer holds")

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

    reward_for: Literal["every_purchase", "first_purchase"] = Field(description="what is rewarded")
    max_reward: Amount | None = Field(None, description="money that one user can earn at most")
    cooldown_days: Wait = Field(
        0, description="days of rest before a user gets the next campaign of this template"
    )
    holdout_share: Share = Field(
        Decimal("0.1"), description="share of candidates that get nothing, to measure by"
    )
    expected_conversion: PositiveShare = Field(
        Decimal("0.05"), description="share of targets that a budget expects to buy"
    )
    margin: PositiveShare = Field(Decimal(1), description="what is earned of a unit of revenue")
    rewards: Literal["app", "automatic"] = Field("app", description="how rewards are granted")
    amount_is: Literal["gross", "net"] = Field(
        "gross", description="whether transactions hold amounts before (gross) or after (net) the discount"
    )
    pause_when_losing: Flag = Field(
        True, description="stop by itself once it is certain to cost more than it brings"
    )


class CampaignTemplate(CampaignTerms):
    """A campaign that opens by itself for a pattern; its id is `template-start day`.

    Running times are days. `budget` is money per campaign, null for no limit; `min_audience` null
    takes the one of the limits; `renamed_from` is the template whose history this one continues.
    """

    template: TemplateName = Field(description="name of the template; ids of its campaigns begin with it")
    type: CampaignType = Field(description="type of the campaign")
    pattern: PatternName = Field(description="pattern whose users it is for")
    name: Line = Field(description="name that users read; may hold placeholders")
    description: Line = Field(description="description that users read; may hold placeholders")
    offer: Offer = Field(description="what each target is promised")
    days: Days = Field(description="how long a campaign runs, in days")
    priority: AtLeastOne = Field(description="priority; 1 goes first")
    attribution_days: Days = Field(description="days whose purchases count as its result")
    budget: Amount | None = Field(None, description="money per campaign")
    renamed_from: TemplateName | None = Field(None, description="template whose history it continues")
    min_audience: AtLeastOne | None = Field(
        None, description="users its pattern needs; none takes the one under limits"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        problems = self._name_problems()
        if self.attribution_days > self.days:
            message = f"{self.attribution_days} days are longer than the campaign ({self.days})"
            problems.append(Problem(("attribution_days",), message))
        refuse(problems + self._money_problems() + self._text_problems())
        return self

    def _name_problems(self) -> list[Problem]:
        problems = [
            Problem((key,), f"{name!r} may not begin with 'global' or 'manual': those ids are reserved")
            for key, name in (("template", self.template), ("renamed_from", self.renamed_from))
            if name and name.startswith(("global", "manual"))
        ]
        if self.type == "manual":
            problems.append(Problem(("type",), "'manual' is the type of campaigns created by hand"))
        return problems

    def _text_problems(self) -> list[Problem]:
        return [
            Problem((key,), problem)
            for key, text in (("name", self.name), ("description", self.description))
            for problem in text_problems(text, self.offer.at, is_capped=self.max_reward is not None)
        ]

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


class ManualCampaign(CampaignTemplate):
    """A campaign created by hand, as its versions freeze it: the template of this one campaign alone.

    With `criteria` it is for the users who meet them, and `pattern` is a name that no policy has.
    """

    criteria: Rule | None = None

    def _name_problems(self) -> list[Problem]:
        problems = []
        if not self.template.startswith("manual-"):
            problems.append(Problem(("template",), f"{self.template!r} does not begin with 'manual-'"))
        if self.type != "manual":
            problems.append(Problem(("type",), "the type of a campaign created by hand is 'manual'"))
        return problems


def frozen_terms(settings: str) -> CampaignTemplate:
    """What a version of a campaign has frozen (JSON), of an automatic one or of one created by hand."""
    by_hand = json.loads(settings).get("type") == "manual"
    return (ManualCampaign if by_hand else CampaignTemplate).model_validate_json(settings)


class ManualDefaults(CampaignTerms):
    """What a campaign created by hand gets where its author says nothing."""

    type: Literal["manual"] = Field("manual", description="type of the campaign")
    priority: AtLeastOne = Field(8, description="priority; 1 goes first")
    reward_for: Literal["every_purchase", "first_purchase"] = Field(
        "first_purchase", description="what is rewarded"
    )
    max_reward: Amount | None = Field(Decimal(25), description="money that one user can earn at most")
    max_attribution_days: Days = Field(
        14, description="days whose purchases count as its result, at most half of its days"
    )

    def attribution_days(self, days: int) -> int:
        """Length in days of the measurement window of a manual campaign that runs `days` days."""
        return min(self.max_attribution_days, (days + 1) // 2)


class Limits(PolicyModel):
    """Bounds of a night, of a user and of a verdict. Counts are users, campaigns or days."""

    min_audience: AtLeastOne = Field(20, description="users a pattern needs before a campaign opens for it")
    max_new_campaigns: AtLeastZero = Field(7, description="campaigns opened in one night at most")
    max_active_campaigns: AtLeastZero = Field(3, description="campaigns that one user can be in at a time")
    min_days_left: Days = Field(7, description="days that a campaign must still run for users to join")
    global_holdout_share: Share = Field(
        Decimal("0.05"), description="share of users outside all marketing for a year"
    )
    max_cost_share: PositiveShare = Field(
        Decimal("0.05"), description="share of its audience's spend that a night may promise at most"
    )
    min_arm: AtLeastOne = Field(100, description="settled targets in each arm before there is a verdict")
    min_converters: AtLeastOne = Field(200, description="buyers in both arms before there is a verdict")
    settle_after_hours: Wait = Field(
        48, description="hours from the end of a target's window until its result is final"
    )
    settle_wait_days: Wait = Field(
        14, description="days that a result waits for missing transactions at most"
    )
    reward_release_days: Days = Field(
        7, description="days after which a claimed reward without its transaction is released"
    )
    suppression_days: Wait = Field(
        30, description="days that a paused template rests after its campaign's end"
    )
    archive_after_days: Wait = Field(
        30, description="days from a campaign's expiry until its targets leave the app's database"
    )


class Checks(PolicyModel):
    """From which jump on a night is worth a warning. None of these decides anything.

    `volume_change` and `users_change` are shares of what was expected, `pattern_share_change` a part of
    all users (0.05 = five points), `arm_deviations` standard deviations.
    """

    volume_change: Annotated[Number, Field(gt=0, le=10)] = Field(
        Decimal("0.5"), description="jump of a day's rows that is worth a warning"
    )
    users_change: Annotated[Number, Field(gt=0, le=10)] = Field(
        Decimal("0.1"), description="jump of users that is worth a warning"
    )
    pattern_share_change: PositiveShare = Field(
        Decimal("0.05"), description="move of a pattern's share that is worth a warning"
    )
    arm_deviations: Annotated[Number, Field(ge=3, le=8)] = Field(
        Decimal(4),
        description="standard deviations of a control group from its share that are worth a warning",
    )


def _canonical(content: object) -> str:
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json", exclude_none=True)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Policy(PolicyModel):
    """Everything marketing decides. Patterns stand by rank, campaigns by (priority, template).

    The order in the file means nothing. `point_value` is what one point costs, in currency.
    """

    patterns: tuple[Pattern, ...] = Field(description="ways to behave")
    campaigns: tuple[CampaignTemplate, ...] = Field(description="campaigns that open by themselves")
    manual_defaults: ManualDefaults = Field(
        ManualDefaults(), description="what campaigns created by hand get where nothing is said"
    )
    limits: Limits = Field(Limits(), description="bounds of a night, of a user and of a verdict")
    checks: Checks = Field(Checks(), description="from which jump on a night is worth a warning")
    point_value: Annotated[Number, Field(gt=0, le=1_000_000)] = Field(
        Decimal("0.001"), description="what one point costs, in currency"
    )

    @property
    def version(self) -> str:
        """First 12 hex digits of the SHA-256 of what decides; comments, layout and `checks` do not count."""
        content = self.model_dump(mode="json", exclude_none=True, exclude={"checks"})
        # Lists of conditions mean the same in any order.
        for shown, pattern in zip(content["patterns"], self.patterns, strict=True):
            shown["rule"] = sorted(sorted(map(_canonical, group)) for group in pattern.rule.meaning)
        return hashlib.sha256(_canonical(content).encode()).hexdigest()[:12]

    @field_validator("patterns")
    @classmethod
    def _patterns_differ(cls, patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
        if not patterns:
            refuse([Problem((), "needs at least one pattern")])
        names, ranks = [pattern.name for pattern in patterns], [pattern.rank for pattern in patterns]
        reserved = [
            Problem((index, "name"), f"{name!r} may not begin with 'manual_': those names are reserved")
            for index, name in enumerate(names)
            if name.startswith("manual_")
        ]
        refuse(reserved + repeated(names, "name") + repeated(ranks, "rank"))
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
