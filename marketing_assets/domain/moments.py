"""What an arm is measured by: exact sums over its settled targets, and the moments that follow from them.

The sums are what SQL delivers and what is kept of erased users. They are decimals and integers, so they add
up to the same whatever the order, and centring them loses nothing. What is inferred from moments stands in
`lift.py`.
"""

from dataclasses import dataclass, fields, replace
from decimal import Context, Decimal, Inexact
from fractions import Fraction

FEWEST = 2
"""Targets that an arm needs to have a variance."""
_ROUNDING = 1e-12
_EXACT = Context(prec=60, traps=[Inexact])
"""Python's own default keeps 28 digits, of the 38 that a sum may have."""


@dataclass(frozen=True)
class Moments:
    """One figure over the targets of an arm: mean, sample variance (n − 1), and how it goes with `x`.

    `x` is what the user spent before assignment. All in units of the figure, of `x`, or their products; 0
    where there are too few targets to have any.
    """

    n: int
    mean: float
    variance: float
    x_mean: float = 0.0
    x_variance: float = 0.0
    covariance: float = 0.0

    def less_x(self, theta: float, around: float) -> "Moments":
        """The moments of figure − theta · (x − around), target by target."""
        variance = self.variance - 2 * theta * self.covariance + theta * theta * self.x_variance
        return Moments(
            n=self.n,
            mean=self.mean - theta * (self.x_mean - around),
            # What is left where x explains everything is rounding, and no spread to measure with.
            variance=variance if variance > _ROUNDING * self.variance else 0.0,
            x_mean=self.x_mean,
            x_variance=self.x_variance,
            covariance=self.covariance - theta * self.x_variance,
        )


@dataclass(frozen=True)
class ArmSums:
    """Sums over the settled targets of one campaign, version and arm; each field is a column of SQL.

    Per target there are `converted` (0 or 1), `revenue`, `capped_revenue` (`least(revenue, cap)`), `cost` (0
    in control) and `prior_spend` (the `x` of CUPED), never null. `targets` is `count(*)`, a column of one
    name its `sum` (`decimal(38, 2)`), `…_squares` the sum of its squares, one of two names the sum of their
    products (both `decimal(38, 4)`). Money is cast to `decimal(19, 2)` before it is multiplied: DuckDB and
    Spark then round nothing, and of anything narrower DuckDB refuses the product. Nothing is cut at 0:
    revenue that refunds have made negative counts as it is.

    Sums add with `+`: those of erased users to those of the others, one day's to another's. `ArmSums()` is
    nobody. Never add versions or campaigns: their terms differ.

    Moments raise ValueError where squares are too small for their sum, which no targets can have.
    """

    targets: int = 0
    converted: int = 0
    converted_prior_spend: Decimal = Decimal(0)
    revenue: Decimal = Decimal(0)
    revenue_squares: Decimal = Decimal(0)
    revenue_cost: Decimal = Decimal(0)
    revenue_prior_spend: Decimal = Decimal(0)
    capped_revenue: Decimal = Decimal(0)
    capped_revenue_squares: Decimal = Decimal(0)
    capped_revenue_cost: Decimal = Decimal(0)
    capped_revenue_prior_spend: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    cost_squares: Decimal = Decimal(0)
    cost_prior_spend: Decimal = Decimal(0)
    prior_spend: Decimal = Decimal(0)
    prior_spend_squares: Decimal = Decimal(0)

    def __add__(self, other: "ArmSums") -> "ArmSums":
        decimals = [each.name for each in fields(self) if each.name not in ("targets", "converted")]
        return ArmSums(
            targets=self.targets + other.targets,
            converted=self.converted + other.converted,
            **{name: _EXACT.add(getattr(self, name), getattr(other, name)) for name in decimals},
        )

    def capped(self) -> "ArmSums":
        """The same targets with capped revenue in the place of revenue."""
        return replace(
            self,
            revenue=self.capped_revenue,
            revenue_squares=self.capped_revenue_squares,
            revenue_cost=self.capped_revenue_cost,
            revenue_prior_spend=self.capped_revenue_prior_spend,
        )

    def conversion(self) -> Moments:
        """Of `converted`: the mean is the share of targets with a purchase."""
        converted = Fraction(self.converted)
        return self._moments(converted, converted, Fraction(self.converted_prior_spend))

    def gross_value(self, margin: Decimal = Decimal(1)) -> Moments:
        """Of margin · revenue per target, in money: y⁰ of the guard, and revenue itself at margin 1."""
        share = Fraction(margin)
        return self._moments(
            share * Fraction(self.revenue),
            share * share * Fraction(self.revenue_squares),
            share * Fraction(self.revenue_prior_spend),
        )

    def net_value(self, margin: Decimal = Decimal(1)) -> Moments:
        """Of y = margin · revenue − cost per target, in money: what decides."""
        share = Fraction(margin)
        return self._moments(
            share * Fraction(self.revenue) - Fraction(self.cost),
            share * share * Fraction(self.revenue_squares)
            - 2 * share * Fraction(self.revenue_cost)
            + Fraction(self.cost_squares),
            share * Fraction(self.revenue_prior_spend) - Fraction(self.cost_prior_spend),
        )

    def _moments(self, total: Fraction, squares: Fraction, with_x: Fraction) -> Moments:
        x, n = Fraction(self.prior_spend), self.targets
        if n == 0:
            return Moments(0, 0.0, 0.0)
        if n < FEWEST:
            return Moments(n, float(total), 0.0, x_mean=float(x))
        variance = (squares - total * total / n) / (n - 1)
        x_variance = (Fraction(self.prior_spend_squares) - x * x / n) / (n - 1)
        if variance < 0 or x_variance < 0:
            raise ValueError(
                f"sums of {n} targets do not belong together: squares are below what they must be"
            )
        return Moments(
            n=n,
            mean=float(total / n),
            variance=float(variance),
            x_mean=float(x / n),
            x_variance=float(x_variance),
            covariance=float((with_x - total * x / n) / (n - 1)),
        )
