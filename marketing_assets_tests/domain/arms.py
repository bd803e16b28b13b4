"""Arms to compare: targets one by one, and their sums as the plain definition has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from marketing_assets.domain.moments import ArmSums


@dataclass(frozen=True)
class Target:
    revenue: Decimal
    cost: Decimal = Decimal(0)
    prior_spend: Decimal = Decimal(0)

    @property
    def converted(self) -> int:
        return int(self.revenue > 0)


def arm(targets: Sequence[Target], cap: Decimal = Decimal(10**9)) -> ArmSums:
    def sum_of(*names: str) -> Decimal:
        total = Decimal(0)
        for target in targets:
            product = Decimal(1)
            for name in names:
                capped = min(target.revenue, cap)
                product *= capped if name == "capped_revenue" else Decimal(getattr(target, name))
            total += product
        return total

    return ArmSums(
        targets=len(targets),
        converted=int(sum_of("converted")),
        converted_prior_spend=sum_of("converted", "prior_spend"),
        revenue=sum_of("revenue"),
        revenue_squares=sum_of("revenue", "revenue"),
        revenue_cost=sum_of("revenue", "cost"),
        revenue_prior_spend=sum_of("revenue", "prior_spend"),
        capped_revenue=sum_of("capped_revenue"),
        capped_revenue_squares=sum_of("capped_revenue", "capped_revenue"),
        capped_revenue_cost=sum_of("capped_revenue", "cost"),
        capped_revenue_prior_spend=sum_of("capped_revenue", "prior_spend"),
        cost=sum_of("cost"),
        cost_squares=sum_of("cost", "cost"),
        cost_prior_spend=sum_of("cost", "prior_spend"),
        prior_spend=sum_of("prior_spend"),
        prior_spend_squares=sum_of("prior_spend", "prior_spend"),
    )


def spending(*revenues: str, cost: str = "0") -> list[Target]:
    """Targets of these revenues, each of whom cost as much."""
    return [Target(Decimal(each), Decimal(cost)) for each in revenues]
