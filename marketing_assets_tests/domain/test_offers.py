"""Offer texts: which placeholders are refused, and what a target reads."""

from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marketing_assets.domain.offers import PLACEHOLDERS, filled, offer_value, text_problems
from marketing_assets.policy.model import Offer

AT_A_PLACE = Offer(type="discount", value=Decimal(15), unit="percentage", at="top_location")
TIED = ["top_location", "top_category", None]


@pytest.mark.parametrize(
    ("text", "at", "is_capped", "says"),
    [
        ("Save {offr}", None, True, "{offr} is not known; did you mean {offer}? (allowed: {offer}, {max_rew"),
        ("Save {value}", None, True, "{value} is not known (allowed: {offer}, {max_reward}, {currency})"),
        ("At {Location}", "top_location", True, "{Location} is not known; did you mean {location}?"),
        ("At { location }", "top_location", True, "{ location } is not known; did you mean {location}?"),
        (
            "At {location.name}",
            "top_location",
            True,
            "{location.name} is not known; did you mean {location}?",
        ),
        ("At {location[0]}", "top_location", True, "{location[0]} is not known; did you mean {location}?"),
        ("At {location!r}", "top_location", True, "{location!r} is not known; did you mean {location}?"),
        ("At {location:>9}", "top_location", True, "{location:>9} is not known; did you mean {location}?"),
        ("{offer.__class__.__mro__}", None, True, "{offer.__class__.__mro__} is not known; did you mean"),
        ("{0}", None, True, "{0} is not known (allowed: "),
        ("Save {}", None, True, "has an empty pair of braces; braces stand around placeholders only"),
        ("Save {offer", None, True, "has a brace { without its partner; braces stand around placeholders on"),
        ("Save offer}", None, True, "has a brace } without its partner"),
        ("At {location}", None, True, "{location} needs an offer with at: top_location (allowed: {offer}, "),
        ("At {location}", "top_category", True, "{location} needs an offer with at: top_location (allowed: "),
        ("{category}", "top_location", True, "{category} needs an offer with at: top_category"),
        ("Up to {max_reward}", None, False, "{max_reward} needs a max_reward (allowed: {offer}, {currency})"),
    ],
)
def test_placeholders_that_make_no_sense_are_refused(
    text: str, at: str | None, is_capped: bool, says: str
) -> None:
    [problem] = text_problems(text, at, is_capped=is_capped)
    assert problem.startswith(says)


def test_every_mistake_of_a_text_is_told_once() -> None:
    problems = text_problems("{{offer}} {place} {place}", None, is_capped=True)
    assert [problem.split(";")[0].split(" (")[0] for problem in problems] == [
        "has a brace { without its partner",
        "has a brace } without its partner",
        "{place} is not known",
    ]


@pytest.mark.parametrize("at", TIED)
def test_what_is_allowed_depends_on_the_offer(at: str | None) -> None:
    own = {"top_location": ["location"], "top_category": ["category"]}.get(str(at), [])
    for name in PLACEHOLDERS:
        usable = name in ("offer", "currency", "max_reward", *own)
        assert (text_problems(f"Have {{{name}}}.", at, is_capped=True) == []) is usable


def test_a_text_is_filled_in_for_its_target() -> None:
    text = "Save {offer} at {location}, at most {max_reward}. {location}!"
    read = filled(text, AT_A_PLACE, Decimal("25.00"), "EUR", {"location": "Store 12"})
    assert read == "Save 15% at Store 12, at most 25 EUR. Store 12!"
    in_category = AT_A_PLACE.model_copy(update={"at": "top_category"})
    assert filled("{category}", in_category, None, "EUR", {"category": "Fuel"}) == "Fuel"


def test_values_are_never_expanded_again() -> None:
    context = {"location": r"{offer} {location} \1 \g<0> %s {0.__class__}"}
    assert filled("{location}", AT_A_PLACE, None, "EUR", context) == context["location"]


def test_what_a_target_does_not_have_stays_as_it_is_written() -> None:
    assert filled("{offer} at {location}", AT_A_PLACE, None, "EUR", {}) == "15% at {location}"
    hostile = {"offer": "free", "currency": "BTC", "max_reward": "all"}
    assert (
        filled("{offer} {currency} {max_reward}", AT_A_PLACE, Decimal(5), "EUR", hostile) == "15% EUR 5 EUR"
    )


@pytest.mark.parametrize(
    ("kind", "value", "unit", "shown"),
    [
        ("cashback", "5", "percentage", "5%"),
        ("discount", "2.50", "percentage", "2.5%"),
        ("bonus", "50", "fixed", "50 EUR"),
        ("bonus", "1E+3", "fixed", "1000 EUR"),
        ("points", "10", "multiplier", "10 points"),
    ],
)
def test_what_an_offer_is_worth(
    kind: Literal["cashback", "discount", "bonus", "points"],
    value: str,
    unit: Literal["percentage", "fixed", "multiplier"],
    shown: str,
) -> None:
    assert offer_value(Offer(type=kind, value=Decimal(value), unit=unit), "EUR") == shown


@given(
    pieces=st.lists(
        st.text(max_size=8)
        | st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS])
        | st.sampled_from(["{", "}", "{}", "{offer.x}"]),
        max_size=6,
    ),
    at=st.sampled_from(TIED),
    location=st.text(),
    category=st.text(),
    max_reward=st.none() | st.decimals(1, 1000, places=2),
)
def test_a_sound_text_always_shows_its_values_verbatim(
    pieces: list[str],
    at: Literal["top_location", "top_category"] | None,
    location: str,
    category: str,
    max_reward: Decimal | None,
) -> None:
    text = "".join(pieces)
    assume(text_problems(text, at, is_capped=max_reward is not None) == [])
    offer = AT_A_PLACE.model_copy(update={"at": at})
    read = filled(text, offer, max_reward, "EUR", {"location": location, "category": category})
    values = {"{location}": location, "{category}": category, "{offer}": "15%", "{currency}": "EUR"}
    if max_reward is not None:
        values["{max_reward}"] = f"{max_reward.normalize():f} EUR"
    # Cut at its placeholders, a sound text has no brace left; each of them is exactly its value.
    expected, rest = "", text
    while "{" in rest:
        before, _, after = rest.partition("{")
        name, _, rest = after.partition("}")
        expected += before + values[f"{{{name}}}"]
    assert read == expected + rest
