"""Events: which are taken, what they do to a target, and that each counts once."""

import random
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from marketing_assets.domain.events import Event, body_hash
from marketing_assets.storage import clock
from marketing_assets.storage.repositories.events import Outcome
from marketing_assets_tests.storage.nights import at
from marketing_assets_tests.storage.offers import (
    BEGINS,
    ENDS,
    OPENS,
    RECEIVED,
    VIP,
    WELCOME,
    Offers,
    conversion,
    event,
)

HOUR = timedelta(hours=1)
AGO = RECEIVED - HOUR
HOSTILE = [
    "'; drop table marketing.campaign_events; --",
    '" or 1=1; -- %s %(user_id)s :name $1 \\',
    "Zoë 🛒 “{}”",
    "a" * 200,
]


def outcome(reported: Event, status: Any, reason: Any = None) -> Outcome:
    return Outcome(reported.event_id, status, reason)


@pytest.fixture
def ann(offers: Offers) -> Offers:
    """Ann is a target of the welcome bonus; bob is in its control group."""
    offers.open()
    offers.offer("ann")
    offers.offer("bob", arm="control")
    return offers


# What is taken


def test_a_view_is_kept_as_it_was_said_and_as_it_was(ann: Offers) -> None:
    zone = timezone(timedelta(hours=2))
    late = timedelta(days=365)
    said = event(occurred_at=(AGO - late).astimezone(zone), sent_at=(RECEIVED - late).astimezone(zone))
    assert ann.report("ann", said) == outcome(said, "accepted")
    assert ann.reader.execute("select * from marketing.campaign_events").fetchall() == [
        (
            *("ann", UUID(int=1), WELCOME, "view", AGO, RECEIVED, AGO - late, RECEIVED - late),
            *(None, None, None, body_hash(said)),
        )
    ]
    assert ann.target("ann")[:4] == ("viewed", AGO, None, None)


def test_a_conversion_is_kept_with_what_it_says(ann: Offers) -> None:
    items = [{"sku": "a'1", "pieces": 2, "price": 1.5, "gift": True, "note": None}]
    said = conversion(items=items)
    assert ann.report_all("ann", [said])[0].status == "accepted"
    kept = ann.reader.execute(
        "select kind, amount::text, items, transaction_id from marketing.campaign_events"
    )
    assert kept.fetchall() == [("conversion", "80.00", items, "t1")]
    assert ann.target("ann")[:4] == ("converted", None, None, AGO)


@pytest.mark.parametrize(
    ("reported", "target"),
    [
        ([event(1, "click")], ("eligible", None, None, None)),
        ([event(1, "dismiss")], ("eligible", None, AGO, None)),
        ([event(1), event(2, occurred_at=AGO - HOUR)], ("viewed", AGO - HOUR, None, None)),
        ([event(1, occurred_at=AGO - HOUR), event(2)], ("viewed", AGO - HOUR, None, None)),
        ([conversion(1), event(2, occurred_at=AGO - HOUR)], ("converted", AGO - HOUR, None, AGO)),
        (
            [conversion(1), conversion(2, occurred_at=AGO - HOUR, transaction_id="t2")],
            ("converted", None, None, AGO - HOUR),
        ),
        (
            [event(1, "dismiss"), event(2, "dismiss", occurred_at=AGO - HOUR)],
            ("eligible", None, AGO - HOUR, None),
        ),
    ],
)
def test_a_target_moves_forward_only(ann: Offers, reported: list[Event], target: tuple[Any, ...]) -> None:
    for each in reported:
        [told] = ann.report_all("ann", [each])
        assert told.status == "accepted"
    assert ann.target("ann")[:4] == target


@pytest.mark.parametrize("backwards", [False, True])
def test_a_batch_comes_to_the_same_in_any_order(ann: Offers, backwards: bool) -> None:
    reported = [
        event(1, occurred_at=AGO - HOUR),
        event(2),
        event(3, "click"),
        conversion(4),
        event(5, "dismiss"),
    ]
    outcomes = ann.report_all("ann", reported[::-1] if backwards else reported)
    assert [each.status for each in outcomes] == ["accepted"] * 5
    assert ann.target("ann")[:4] == ("converted", AGO - HOUR, AGO, AGO)


@pytest.mark.parametrize(
    ("user", "reported", "reason"),
    [
        ("bob", event(), "not_a_target"),  # control
        ("eve", event(), "not_a_target"),
        ("ann", event(campaign_id=VIP), "not_a_target"),
        ("ann", event(campaign_id="no-such-campaign"), "not_a_target"),
        ("ann", event(occurred_at=BEGINS - timedelta(microseconds=1)), "outside_window"),
    ],
)
def test_what_is_nobodys_is_rejected(ann: Offers, user: str, reported: Event, reason: str) -> None:
    assert ann.report(user, reported) == outcome(reported, "rejected", reason)
    assert ann.report_all(user, [reported]) == [outcome(reported, "rejected", reason)]
    assert ann.kept() == []
    assert ann.target("ann")[0] == ann.target("bob")[0] == "eligible"


@pytest.mark.parametrize(
    ("late", "told"), [(timedelta(microseconds=1), None), (timedelta(0), "outside_window")]
)
def test_an_offer_lives_until_its_end(ann: Offers, late: timedelta, told: str | None) -> None:
    reported = event(occurred_at=ENDS - late, sent_at=ENDS + HOUR)
    status = "rejected" if told else "accepted"
    assert ann.report("ann", reported, ENDS + HOUR) == outcome(reported, status, told)


def test_an_offer_begins_with_its_window(ann: Offers) -> None:
    assert ann.report("ann", event(occurred_at=BEGINS)).status == "accepted"


def test_a_campaign_that_was_ended_by_hand_takes_what_happened_before(ann: Offers) -> None:
    ann.reader.execute(
        "update marketing.marketing_campaigns set status = 'expired', ended_by_hand_at = %s, ends_at = %s",
        [AGO, AGO],
    )
    before, after = event(1, occurred_at=AGO - HOUR), event(2)
    assert ann.report("ann", before) == outcome(before, "accepted")
    assert ann.report("ann", after) == outcome(after, "rejected", "outside_window")


def test_a_paused_campaign_takes_events(ann: Offers) -> None:
    ann.reader.execute("update marketing.marketing_campaigns set status = 'paused'")
    assert ann.report("ann", event()).status == "accepted"


def test_an_archived_campaign_takes_none(ann: Offers) -> None:
    ann.reader.execute("update marketing.marketing_campaigns set status = 'archived'")
    assert ann.report("ann", event()) == outcome(event(), "rejected", "archived")
    ann.reader.execute("delete from marketing.campaign_targets")
    assert ann.report("ann", event()) == outcome(event(), "rejected", "archived")
    assert ann.report_all("ann", [conversion()]) == [outcome(conversion(), "rejected", "archived")]


def test_who_opted_out_or_put_the_offer_away_can_still_say_what_happened(ann: Offers) -> None:
    ann.reader.execute(
        "insert into marketing.user_consent values ('ann', %s, '{}', 'app', %s)", [AGO - HOUR, AGO - HOUR]
    )
    told = ann.report_all("ann", [event(1, "dismiss"), event(2), conversion(3)])
    assert [each.status for each in told] == ["accepted"] * 3


def test_a_simulated_clock_takes_the_apps_word_for_when_it_happened(ann: Offers) -> None:
    now = at(OPENS + timedelta(days=3), 2)
    said = event(occurred_at=now + HOUR, sent_at=now - HOUR)
    with clock.simulated(ann.serving, "test") as simulated:
        simulated.set(now)
        assert ann.report("ann", said, received_at=datetime.now(UTC)).status == "accepted"
    assert ann.reader.execute(
        "select occurred_at, received_at, claimed_at from marketing.campaign_events"
    ).fetchall() == [(now + HOUR, now, now + HOUR)]


def test_a_user_who_asked_to_be_erased_reports_nothing(ann: Offers) -> None:
    ann.reader.execute(
        "insert into marketing.erased_users values ('hash of ann', 'key', gen_random_uuid(), now(), null)"
    )
    assert ann.told("ann", event()) is None
    assert ann.report_all("ann", [event(), conversion(2)]) == []
    assert ann.kept() == []
    assert ann.target("ann")[:4] == ("eligible", None, None, None)


@pytest.mark.parametrize("seed", range(6))
def test_one_by_one_comes_to_the_same_as_in_batches(ann: Offers, seed: int) -> None:
    """Both ways of taking an event, over events at and beyond the edges of the offer, some of them twice."""
    ann.offer("cid")
    draw = random.Random(seed)
    instants = [BEGINS - HOUR, BEGINS, AGO - HOUR, AGO, RECEIVED]
    campaigns = [WELCOME] * 5 + [VIP]
    for _ in range(12):
        reported = event(
            draw.randrange(8),
            draw.choice(["view", "click", "dismiss"]),
            draw.choice(campaigns),
            draw.choice(instants),
        )
        assert [ann.report("ann", reported)] == ann.report_all("cid", [reported])
        assert ann.target("ann") == ann.target("cid")
    assert [each[1:] for each in ann.kept() if each[0] == "ann"] == [
        each[1:] for each in ann.kept() if each[0] == "cid"
    ]
    assert len(ann.kept()) >= 6


# Each counts once


def test_an_event_that_comes_again_is_a_duplicate(ann: Offers) -> None:
    again = event(sent_at=RECEIVED + HOUR)
    assert ann.report("ann", event()) == outcome(event(), "accepted")
    assert ann.report("ann", again, RECEIVED + HOUR) == outcome(again, "duplicate")
    assert ann.report_all("ann", [again], RECEIVED + HOUR) == [outcome(again, "duplicate")]
    # Also once nothing new would be taken any more.
    much_later = at(OPENS + timedelta(days=80))
    assert ann.report("ann", replace(again, sent_at=much_later), much_later) == outcome(again, "duplicate")
    assert ann.kept() == [("ann", "view", WELCOME)]


@pytest.mark.parametrize(
    "other", [event(kind="click"), event(occurred_at=AGO - HOUR), event(campaign_id=VIP), conversion()]
)
def test_another_event_under_the_same_id_is_rejected(ann: Offers, other: Event) -> None:
    ann.report("ann", event())
    assert ann.report_all("ann", [other]) == [outcome(other, "rejected", "conflicting_duplicate")]
    assert ann.kept() == [("ann", "view", WELCOME)]
    assert ann.target("ann")[0] == "viewed"


def test_ids_are_each_users_own(ann: Offers) -> None:
    ann.offer("cid")
    assert ann.report("ann", event()).status == ann.report("cid", event()).status == "accepted"
    assert ann.kept() == [("ann", "view", WELCOME), ("cid", "view", WELCOME)]


def test_one_bad_event_never_loses_the_others(ann: Offers) -> None:
    ann.offer("ann", VIP)
    ann.reader.execute(
        "update marketing.campaign_targets set valid_from = %s where campaign_id = %s", [AGO, VIP]
    )
    ann.open("vip-rewards")
    reported = [
        event(1),
        event(1),
        event(1, "click"),
        event(2, campaign_id="no-such-campaign"),
        event(3, campaign_id=VIP, occurred_at=AGO - HOUR),
        event(3, campaign_id=VIP),  # another one under the id of one that was not taken
        event(3, campaign_id=VIP, occurred_at=AGO - HOUR),
        event(4, "dismiss"),
    ]
    told = [(each.status, each.reason) for each in ann.report_all("ann", reported)]
    assert told == [
        ("accepted", None),
        ("duplicate", None),
        ("rejected", "conflicting_duplicate"),
        ("rejected", "not_a_target"),
        ("rejected", "conflicting_duplicate"),
        ("accepted", None),
        ("rejected", "conflicting_duplicate"),
        ("accepted", None),
    ]
    assert ann.kept() == [("ann", "view", WELCOME), ("ann", "view", VIP), ("ann", "dismiss", WELCOME)]


def test_five_hundred_at_once(ann: Offers) -> None:
    reported = [event(number, "click", occurred_at=AGO - timedelta(seconds=number)) for number in range(500)]
    assert {each.status for each in ann.report_all("ann", reported)} == {"accepted"}
    assert {each.status for each in ann.report_all("ann", reported)} == {"duplicate"}
    assert len(ann.kept()) == 500


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_a_text(offers: Offers, text: str) -> None:
    offers.open()
    offers.offer(text)
    said = conversion(transaction_id=text, items=[{text: text}])
    assert offers.report_all(text, [said])[0].status == "accepted"
    assert offers.report_all(text, [said])[0].status == "duplicate"
    assert offers.report(text, event(2, campaign_id=text)).reason == "not_a_target"
    assert offers.report("eve", event(3)).reason == "not_a_target"
    assert offers.reader.execute(
        "select user_id, transaction_id, items from marketing.campaign_events"
    ).fetchall() == [(text, text, [{text: text}])]


# At the same time


def test_one_event_from_fifty_at_once_counts_once(ann: Offers) -> None:
    told = ann.at_once([("ann", [conversion()])] * 50)
    assert sorted(each.status for [each] in told) == ["accepted"] + ["duplicate"] * 49
    assert {each.reward for [each] in told} == {told[0][0].reward}
    assert ann.kept() == [("ann", "conversion", WELCOME)]
    assert ann.rewards("ann") == (1, Decimal(20))
    ann.check_sums()


def test_views_of_one_target_at_once_all_count(ann: Offers) -> None:
    batches = [("ann", [event(number, occurred_at=AGO - number * HOUR)]) for number in range(20)]
    assert {each.status for [each] in ann.at_once(batches)} == {"accepted"}
    assert ann.target("ann")[:2] == ("viewed", AGO - 19 * HOUR)


def test_an_event_waits_for_who_removes_its_target(ann: Offers) -> None:
    """Neither a night that is rebuilt nor an erasure leaves an event behind that came meanwhile."""
    with psycopg.connect(ann.url) as other:
        other.execute("delete from marketing.campaign_targets")
        told: list[Outcome] = []
        reporting = threading.Thread(target=lambda: told.append(ann.report("ann", event())))
        reporting.start()
        reporting.join(0.3)
        assert reporting.is_alive()
        other.commit()
    reporting.join(10)
    assert told == [outcome(event(), "rejected", "not_a_target")]
    assert ann.kept() == []
