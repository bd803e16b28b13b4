"""Offer texts: which placeholders a text of the policy may hold, and how one is filled in for a target.

A placeholder is a name between braces and nothing else: texts never reach `str.format`, which would read
attributes. Who gets an offer is decided elsewhere; nothing here reads a store.
"""

import difflib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

# At run time the policy's model imports this module, to check its texts.
if TYPE_CHECKING:
    from marketing_assets.policy.model import Offer

PLACEHOLDERS = {
    "offer": "what the offer is worth: 15%, 50 USD, 10 points",
    "location": "the user's top location; only in an offer with at: top_location",
    "category": "the user's top category; only in an offer with at: top_category",
    "max_reward": "the most that one user can earn: 25 USD; only where there is a max_reward",
    "currency": "the currency of all amounts: USD",
}
"""What may stand between braces, and what it becomes. No days left: they differ from user to user."""

_NEEDS = {
    "location": "an offer with at: top_location",
    "category": "an offer with at: top_category",
    "max_reward": "a max_reward",
}
_BRACES = re.compile(r"\{[^{}]*\}|[{}]")
_FILLED = re.compile(r"\{(\w+)\}", re.ASCII)


def text_problems(text: str, at: str | None, *, is_capped: bool) -> list[str]:
    """What is wrong with the placeholders of an offer's name or description, a sentence each.

    Args:
        text: as it stands in the policy.
        at: the offer's `at`: top_location, top_category or None.
        is_capped: whether there is a `max_reward` that a text may name.
    """
    missing = {
        "location": at != "top_location",
        "category": at != "top_category",
        "max_reward": not is_capped,
    }
    usable = [name for name in PLACEHOLDERS if not missing.get(name)]
    allowed = f"(allowed: {', '.join(f'{{{name}}}' for name in usable)})"
    problems = []
    for found in dict.fromkeys(_BRACES.findall(text)):
        name = found[1:-1]
        if not name:
            part = "an empty pair of braces" if found == "{}" else f"a brace {found} without its partner"
            problems.append(f"has {part}; braces stand around placeholders only {allowed}")
        elif name not in PLACEHOLDERS:
            problems.append(f"{found} is not known{_hint(name)} {allowed}")
        elif missing.get(name):
            problems.append(f"{found} needs {_NEEDS[name]} {allowed}")
    return problems


def _hint(name: str) -> str:
    plain = re.split(r"[^\w\s-]", name.strip(), maxsplit=1)[0].strip().lower()
    close = difflib.get_close_matches(plain, PLACEHOLDERS, n=1)
    return f"; did you mean {{{close[0]}}}?" if close else ""


def filled(
    text: str, offer: "Offer", max_reward: Decimal | None, currency: str, context: Mapping[str, str]
) -> str:
    """The text as a target reads it; what the context does not hold stays as it is written.

    Values are put in as they are: braces inside of one are never expanded.

    Args:
        text: name or description of the campaign's version that the target was promised.
        offer: of the same version, and so is `max_reward`, money.
        max_reward: the most that one user can earn, None for no limit.
        currency: three letters, of all amounts.
        context: the target's own `location` and `category`, where the offer is tied to one.
    """
    values = {"offer": offer_value(offer, currency), "currency": currency}
    if max_reward is not None:
        values["max_reward"] = f"{plain(max_reward)} {currency}"
    values |= {name: context[name] for name in ("location", "category") if name in context}
    return _FILLED.sub(lambda match: values.get(match[1], match[0]), text)


def offer_value(offer: "Offer", currency: str) -> str:
    """What an offer is worth, as the app shows it: `15%`, `50 USD` or `10 points`."""
    unit = {"percentage": "%", "fixed": f" {currency}", "multiplier": " points"}[offer.unit]
    return plain(offer.value) + unit


def plain(value: Decimal) -> str:
    """A number without trailing zeros or exponent: `2.5`, `1000`."""
    return format(value.normalize(), "f")
