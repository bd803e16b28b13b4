"""Who is held out: a pure function of a salt and a user id, the same in Python and in SQL.

Nothing is drawn at random and nothing is remembered here, so an assignment can be checked by anybody
at any time. Which salt and which share apply is the caller's part.
"""

import hashlib
from decimal import Decimal
from fractions import Fraction

_BUCKETS = 2**32


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


def held_out(salt: str, user_id: str, share: Decimal) -> bool:
    """Whether the user is in the control group of `share`: 0 holds out nobody, 1 everybody.

    Raises:
        ValueError: the share is not in [0, 1].
    """
    if share in (0, 1):
        return share == 1
    return bucket_digits(salt, user_id) < share_digits(share)
