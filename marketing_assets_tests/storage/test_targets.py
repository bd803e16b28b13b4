"""The bulk insert of targets: what is new and nothing else, with what its terms say."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from marketing_assets.errors import DatabaseError
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS
from marketing_assets.storage.publish import Published
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

NEXT = D + timedelta(days=1)
ALL = (
    b"select campaign_id, campaign_version, user_id, arm, reason, context, valid_from, valid_until "
    b"from marketing.campaign_targets order by campaign_id, user_id"
)


def target(
    user: str, place: str | None, category: str | None, arm: str = "treatment", version: int = 1
) -> list[Any]:
    return [
        CAMPAIGN,
        version,
        user,
        arm,
        f'{{"spend":"{len(user)}.50","of":"{user}"}}',
        place,
        category,
        Decimal("10.00"),
        Decimal("0.25"),
        NEXT,
        at(NEXT),
        at(date(2026, 3, 4)),
    ]


def test_each_target_keeps_its_own_terms(maker: NightMaker, reader: psycopg.Connection) -> None:
    maker.write(D, ["ann", "bob"])
    targets = [
        target("ann", "Store 1", None),
        target("bob", "Store 1", "Food"),
        target("cid", None, "Food", "control"),
        target("dan", None, None, version=2),
        target("eve", "", None),
        target("fay", 'a "b", {c}', "\\"),
    ]
    maker.put(CAMPAIGN_TARGETS, D, targets)
    assert maker.publish(D, [campaign()]) == Published(1, 6, 6, 2)
    contexts = [
        {"location": "Store 1"},
        {"location": "Store 1", "category": "Food"},
        {"category": "Food"},
        {},
        {"location": ""},
        {"location": 'a "b", {c}', "category": "\\"},
    ]
    assert reader.execute(ALL).fetchall() == [
        (
            CAMPAIGN,
            row[1],
            row[2],
            row[3],
            {"spend": str(Decimal(len(row[2])) + Decimal("0.50")), "of": row[2]},
            context,
            at(NEXT),
            at(date(2026, 3, 4)),
        )
        for row, context in zip(targets, contexts, strict=True)
    ]


def test_a_target_that_is_there_stays_as_it_is(maker: NightMaker, reader: psycopg.Connection) -> None:
    maker.write(D, ["ann", "bob"])
    maker.put(CAMPAIGN_TARGETS, D, [target("ann", "Store 1", None)])
    maker.publish(D, [campaign()])
    before = reader.execute(ALL).fetchall()
    maker.put(CAMPAIGN_TARGETS, D, [target("ann", "Store 2", None, "control"), target("bob", None, None)])
    assert maker.publish(D, [campaign()]).new_targets == 1
    after = reader.execute(ALL).fetchall()
    assert after[0] == before[0]
    assert [row[2] for row in after] == ["ann", "bob"]


def test_users_of_other_campaigns_are_new(maker: NightMaker, reader: psycopg.Connection) -> None:
    other = campaign("loyalty-bonus", NEXT)
    maker.write(D, ["ann"])
    maker.publish(D, [campaign(), other])
    maker.put_targets(NEXT, ["ann"], other.campaign_id)
    maker.write(NEXT, ["ann"], other.campaign_id)
    assert maker.publish(NEXT).new_targets == 1
    assert len(reader.execute(ALL).fetchall()) == 2


def test_a_target_of_a_campaign_that_is_not_there_publishes_nothing(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    maker.write(D, ["ann"])
    with pytest.raises(DatabaseError, match=f"campaigns that are not in .*: {CAMPAIGN}") as refused:
        maker.publish(D)
    assert "materialise campaigns and campaign_targets" in refused.value.remedy
    assert reader.execute("select count(*) from marketing.published_nights").fetchone() == (0,)
