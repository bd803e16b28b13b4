"""Who is held out: a pure function of a salt and a user id, the same in Python and in SQL.

Nothing is drawn at random and nothing is remembered here, so an assignment can be checked by anybody
at any time. Which salt and which share apply is the caller's part.
"""

import hashlib
import math
from decimal import Decimal
from fractions import Fraction
from statistics import NormalDist

_BUCKETS = 2**32
_LARGE_VARIANCE = 1000
CERTAIN = 99.0
"""Standard deviations that stand for a deviation which chance cannot explain at all."""


def bucket_digits(salt: str, user_id: str) -> str:
    """The user's bucket: first 8 hex digits of `md5(salt || ':' || user_id)` over UTF-8 bytes, lower case.

    In SQL: `substr(md5(salt || ':' || user_id), 1, 8)`.
    """
    digest = hashlib.md5(f"{salt}:{user_id}".encode(), usedforsecurity=False)
    return digest.hexdigest()[:8]


def share_digits(share: Decimal) -> str:
    """`floor(share * 2^32)` as 8 hex digits: the buckets whose text is below it are held out.

    Raises:
        ValueError: the share is not in [0, 1); 1 has no such digits and means everybody.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share {share} is not in [0, 1)")
    # Fractions, since a product of decimals is rounded to the context's precision.
    return f"{int(Fraction(share) * _BUCKETS):08x}"


def share_bound(share: Decimal) -> str:
    """Text that exactly the digits of those who are held out are below: empty for nobody, `g` for everybody.

    Raises:
        ValueError: the share is not in [0, 1].
    """
    if share in (0, 1):
        return "g" if share == 1 else ""
    return share_digits(share)


def held_out(salt: str, user_id: str, share: Decimal) -> bool:
    """Whether the user is in the control group of `share`: 0 holds out nobody, 1 everybody.

    Raises:
        ValueError: the share is not in [0, 1].
    """
    return bucket_digits(salt, user_id) < share_bound(share)


def deviation(targets: int, control: int, share: Decimal) -> float:
    """How far `control` of `targets` lies from its share, in standard deviations; negative = too few.

    From the exact binomial tail while the normal curve is a poor likeness of it (variance below
    `_LARGE_VARIANCE`): of a handful of targets one in control is no surprise. `CERTAIN` where a share of 0 or
    1 leaves nothing to chance and was not kept.
    """
    expected, variance = targets * float(share), targets * float(share) * (1 - float(share))
    if variance == 0:
        return 0.0 if control == expected else math.copysign(CERTAIN, control - expected)
    plain = (control - expected) / math.sqrt(variance)
    if variance > _LARGE_VARIANCE:
        return plain
    tail = range(control, targets + 1) if control > expected else range(control + 1)
    probability = math.fsum(math.exp(_log_probability(targets, each, float(share))) for each in tail)
    if not 0 < probability < 0.5:  # noqa: PLR2004 - at the median or nearer: no deviation
        return 0.0 if probability else plain
    return math.copysign(NormalDist().inv_cdf(probability), plain)


def _log_probability(targets: int, control: int, share: float) -> float:
    ways = math.lgamma(targets + 1) - math.lgamma(control + 1) - math.lgamma(targets - control + 1)
    return ways + control * math.log(share) + (targets - control) * math.log1p(-share)
