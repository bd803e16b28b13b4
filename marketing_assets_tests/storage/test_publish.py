"""Publishing: a night appears whole or not at all, and readers never fail."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from marketing_assets.domain.campaigns import canonical_json
from marketing_assets.errors import DatabaseError, NightError, WriterLockError
from marketing_assets.storage import publish
from marketing_assets.storage.datasets import USER_FEATURES
from marketing_assets.storage.publish import Published, unpublish_from
from marketing_assets.storage.repositories import campaigns, nights
from marketing_assets_tests.storage.conftest import Kill
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

NEXT = D + timedelta(days=1)
COUNTS = (
    "select (select count(*) from marketing.marketing_campaigns), "
    "(select count(*) from marketing.campaign_versions), "
    "(select count(*) from marketing.campaign_targets), "
    "(select count(*) from marketing.user_segments), "
    "(select count(*) from marketing.segment_summary), "
    "(select count(*) from marketing.published_nights)"
)


def counts(reader: psycopg.Connection) -> tuple[Any, ...]:
    row = reader.execute(COUNTS).fetchone()
    assert row is not None
    return row


def rows(reader: psycopg.Connection, statement: str) -> list[tuple[Any, ...]]:
    return reader.execute(statement.encode()).fetchall()


def test_a_night_is_published_as_the_lake_has_it(maker: NightMaker, reader: psycopg.Connection) -> None:
    maker.write(D, ["ann", "bob"])
    assert maker.publish(D, [campaign()]) == Published(new_campaigns=1, new_targets=2, targets=2, segments=2)
    assert rows(
        reader,
        "select campaign_id, template, campaign_type, offer_type, offer_value, offer_unit, target_pattern, "
        "status, priority, starts_at, ends_at, origin, version, revision, suppressed_until "
        "from marketing.marketing_campaigns",
    ) == [
        (
            CAMPAIGN,
            "welcome-bonus",
            "welcome",
            "discount",
            Decimal(25),
            "percentage",
            "new_shopper",
            "active",
            4,
            at(NEXT),
            at(NEXT + timedelta(days=21)),
            "policy",
            1,
            1,
            None,
        )
    ]
    assert rows(
        reader,
        "select user_id, campaign_id, arm, status, reason, context, assigned_on, valid_from, created_at "
        "from marketing.campaign_targets order by user_id",
    ) == [
        (
            user,
            CAMPAIGN,
            "treatment",
            "eligible",
            {"transactions": 1},
            {"location": "Store 1"},
            NEXT,
            at(NEXT),
            at(NEXT, 2),
        )
        for user in ("ann", "bob")
    ]
    assert rows(reader, "select * from marketing.user_segments order by user_id") == [
        (
            user,
            "new_shopper",
            ["new_shopper", "general"],
            Decimal("10.00"),
            1,
            "Store 1",
            "Food",
            D,
            Decimal("10.00"),
        )
        for user in ("ann", "bob")
    ]
    assert rows(reader, "select * from marketing.segment_summary order by pattern") == [
        (D, "general", 2, 1.0, Decimal("20.00"), Decimal("10.00")),
        (D, "new_shopper", 2, 1.0, Decimal("20.00"), Decimal("10.00")),
    ]
    assert rows(reader, "select * from marketing.published_nights") == [
        (D, "run", "p", "published", None, 2, at(NEXT, 2))
    ]
    assert [file.name for file in maker.lake.scratch.iterdir()] == []


def test_ids_and_places_of_every_kind_arrive_as_they_are(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    users = ['"', "a,b", "line\nbreak", "\r", "\\N", "\\.", "", " ", "NULL", "Zoë 🛒", "'; drop table x; --"]
    for place in ("", "\\.", 'Store "1",\nupstairs', None):
        maker.location = place
        maker.write(D, users)
        maker.publish(D, [campaign()])
        found = rows(reader, "select user_id, top_location from marketing.user_segments")
        assert sorted(found) == sorted((user, place) for user in users)
    targets = rows(reader, "select user_id, context from marketing.campaign_targets")
    assert sorted(user for user, _ in targets) == sorted(users)
    assert {str(context) for _, context in targets} == {"{'location': ''}"}


def test_publishing_again_changes_nothing_but_the_run(maker: NightMaker, reader: psycopg.Connection) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()], "first run")
    reader.execute("update marketing.campaign_targets set status = 'viewed', viewed_at = now()")
    reader.execute("update marketing.marketing_campaigns set status = 'paused'")
    again = maker.publish(D, [campaign()], "second run")
    assert again == Published(new_campaigns=0, new_targets=0, targets=2, segments=2)
    assert counts(reader) == (1, 1, 2, 2, 2, 1)
    assert rows(reader, "select distinct status from marketing.campaign_targets") == [("viewed",)]
    assert rows(reader, "select status from marketing.marketing_campaigns") == [("paused",)]
    assert rows(reader, "select run_id from marketing.published_nights") == [("second run",)]


def test_the_next_night_adds_targets_and_replaces_segments(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    maker.write(D + timedelta(days=3), ["cid"])
    maker.publish(D + timedelta(days=3))
    assert counts(reader) == (1, 1, 3, 1, 4, 4)
    assert rows(reader, "select user_id, as_of from marketing.user_segments") == [
        ("cid", D + timedelta(days=3))
    ]
    assert rows(reader, "select day, status, reason, targets from marketing.published_nights order by 1") == [
        (D, "published", None, 2),
        (D + timedelta(days=1), "skipped", "missed", 0),
        (D + timedelta(days=2), "skipped", "missed", 0),
        (D + timedelta(days=3), "published", None, 1),
    ]


def test_nothing_of_a_night_is_seen_before_its_commit(
    maker: NightMaker, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    maker.write(NEXT, ["cid"])
    before = counts(reader)
    seen: list[tuple[Any, ...]] = []
    last = publish._record

    def look_then_record(*arguments: Any) -> None:
        seen.append(counts(reader))
        last(*arguments)

    monkeypatch.setattr(publish, "_record", look_then_record)
    maker.publish(NEXT)
    assert seen == [before]
    assert counts(reader) == (1, 1, 3, 1, 4, 2)


@pytest.mark.parametrize(
    "moment", ["empty_free_slot", "insert_targets", "_replace_summary", "replace_segments", "_record"]
)
def test_a_session_lost_while_publishing_publishes_nothing(
    moment: str, maker: NightMaker, reader: psycopg.Connection, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    maker.write(NEXT, ["bob"])
    before = counts(reader)
    step = getattr(publish, moment)

    def lose_then_go_on(*arguments: Any) -> Any:
        assert kill("run under test") == 1
        return step(*arguments)

    monkeypatch.setattr(publish, moment, lose_then_go_on)
    with pytest.raises((DatabaseError, WriterLockError)) as lost:
        maker.publish(NEXT)
    assert "run the day again" in lost.value.remedy
    assert counts(reader) == before
    assert [file.name for file in maker.lake.scratch.iterdir()] == []


def test_a_lock_lost_before_publishing_publishes_nothing(
    maker: NightMaker, reader: psycopg.Connection, kill: Kill
) -> None:
    maker.write(D, ["ann"])
    kill("run under test")
    with pytest.raises((DatabaseError, WriterLockError)):
        maker.publish(D, [campaign()])
    assert counts(reader) == (0, 0, 0, 0, 0, 0)
    with pytest.raises(WriterLockError):
        maker.write(NEXT, ["bob"])
    assert maker.lake.days(USER_FEATURES) == [D]


def test_a_lock_released_behind_the_runs_back_publishes_nothing(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    maker.write(D, ["ann"])
    maker.lock.session.exec_driver_sql("select pg_advisory_unlock_all()")
    maker.lock.session.commit()
    with pytest.raises(WriterLockError, match="lost"):
        maker.publish(D, [campaign()])
    assert counts(reader) == (0, 0, 0, 0, 0, 0)


def test_a_row_the_database_refuses_publishes_nothing(maker: NightMaker, reader: psycopg.Connection) -> None:
    maker.write(D, ["x" * 201])
    with pytest.raises(DatabaseError, match="value too long") as refused:
        maker.publish(D, [campaign()])
    assert "x" * 50 not in str(refused.value)
    assert counts(reader) == (0, 0, 0, 0, 0, 0)


def test_unpublishing_forgets_the_nights_from_a_day_on(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    later = campaign("loyalty-bonus", NEXT + timedelta(days=1))
    maker.write(NEXT, ["bob"])
    maker.put_targets(NEXT, ["ann", "bob"], later.campaign_id)
    maker.publish(NEXT, [later])
    assert counts(reader) == (2, 2, 3, 1, 4, 2)
    with serving.begin() as connection:
        unpublish_from(connection, NEXT)
    assert rows(reader, "select campaign_id, user_id from marketing.campaign_targets") == [(CAMPAIGN, "ann")]
    assert rows(reader, "select campaign_id from marketing.marketing_campaigns") == [(CAMPAIGN,)]
    assert rows(reader, "select campaign_id from marketing.campaign_versions") == [(CAMPAIGN,)]
    assert rows(reader, "select day from marketing.published_nights") == [(D,)]
    assert rows(reader, "select distinct day from marketing.segment_summary") == [(D,)]
    with serving.begin() as connection:
        unpublish_from(connection, D)
    assert counts(reader)[:3] == (0, 0, 0)
    assert counts(reader)[5] == 0


def test_unpublishing_keeps_a_campaign_that_is_older_or_made_by_hand(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    by_hand = campaign("category-focus", NEXT)
    older = campaign("welcome-bonus", D)
    maker.write(D, ["ann"])
    maker.publish(D, [campaign(), by_hand, older])
    reader.execute(
        "update marketing.marketing_campaigns set origin = 'manual' where template = 'category-focus'"
    )
    with serving.begin() as connection:
        unpublish_from(connection, D)
    assert rows(reader, "select campaign_id from marketing.marketing_campaigns order by 1") == [
        ("category-focus-2026-02-11",),
        ("welcome-bonus-2026-02-10",),
    ]
    assert rows(reader, "select count(*) from marketing.campaign_versions") == [(2,)]


@pytest.mark.parametrize(("user", "first"), [("bob", NEXT), ("ann", NEXT), ("ann", D)])
def test_nights_whose_campaigns_the_app_has_reported_of_are_never_unpublished(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine, user: str, first: date
) -> None:
    """Also where it was another night's target of the campaign who saw it."""
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    maker.write(NEXT, ["bob"])
    maker.publish(NEXT)
    report_view(reader, user)
    before = counts(reader)
    with (
        pytest.raises(NightError, match=f"reported events of {CAMPAIGN}: nights from {first} on cannot be"),
        serving.begin() as connection,
    ):
        unpublish_from(connection, first)
    assert counts(reader) == before


def test_what_the_app_reported_of_an_older_campaign_is_in_nobodys_way(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    later = campaign("loyalty-bonus", NEXT + timedelta(days=1))
    maker.write(NEXT, ["bob"], later.campaign_id)
    maker.publish(NEXT, [later])
    report_view(reader, "ann")
    with serving.begin() as connection:
        unpublish_from(connection, NEXT)
    assert rows(reader, "select campaign_id, user_id from marketing.campaign_targets") == [(CAMPAIGN, "ann")]


def report_view(reader: psycopg.Connection, user: str) -> None:
    reader.execute(
        "insert into marketing.campaign_events (user_id, event_id, campaign_id, kind, occurred_at,"
        " received_at, claimed_at, sent_at, body_hash)"
        " select %(user)s, gen_random_uuid(), %(campaign)s, 'view', at, at, at, at, '' from now() as at",
        {"user": user, "campaign": CAMPAIGN},
    )


def test_nights_are_read_as_they_were_recorded(maker: NightMaker, serving: Engine) -> None:
    with serving.connect() as connection:
        assert nights.newest_decided(connection) is None
        assert nights.night(connection, D) is None
        assert nights.decided_targets(connection, D) == {}
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    with serving.begin() as connection:
        skipped = [D, NEXT, NEXT + timedelta(days=1)]
        nights.record_skipped(
            connection, skipped, run_id="r", policy_version="q", reason="missed", at=at(NEXT)
        )
        nights.record_skipped(connection, [], run_id="r", policy_version="q", reason="missed", at=at(NEXT))
        assert nights.newest_decided(connection) == D
        assert nights.decided_targets(connection, D - timedelta(days=9)) == {D: 2}
        assert nights.decided_targets(connection, NEXT) == {}
        kept, late = nights.night(connection, D), nights.night(connection, NEXT)
    assert kept == nights.Night(D, "run", "p", "published", None, 2, at(NEXT, 2))
    assert late == nights.Night(NEXT, "r", "q", "skipped", "missed", 0, at(NEXT))


def test_a_skipped_night_that_is_decided_after_all_is_replaced(maker: NightMaker, serving: Engine) -> None:
    with serving.begin() as connection:
        nights.record_skipped(connection, [D], run_id="r", policy_version="q", reason="missed", at=at(NEXT))
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    with serving.connect() as connection:
        found = nights.night(connection, D)
    assert found == nights.Night(D, "run", "p", "published", None, 1, at(NEXT, 2))


def test_campaigns_are_read_as_they_were_opened(maker: NightMaker, serving: Engine) -> None:
    opened = campaign()
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [opened])
    with serving.connect() as connection:
        found = campaigns.not_over(connection, at(D))
        over = campaigns.not_over(connection, opened.ends_at)
    assert over == []
    assert [each.campaign_id for each in found] == [CAMPAIGN]
    assert found[0].settings == canonical_json(json.loads(opened.settings))
    assert (found[0].starts_at, found[0].ends_at) == (opened.starts_at, opened.ends_at)
    assert found[0].holdout_share == opened.holdout_share


def test_a_campaign_that_is_over_is_read_while_it_suppresses_its_template(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    until = datetime(2027, 1, 1, tzinfo=UTC)
    reader.execute("update marketing.marketing_campaigns set suppressed_until = %s", [until])
    with serving.connect() as connection:
        assert len(campaigns.not_over(connection, at(date(2026, 12, 31)))) == 1
        assert campaigns.not_over(connection, until) == []


def test_summaries_count_the_targets_of_both_arms(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann", "bob", "cid"])
    empty = campaign("vip-rewards", NEXT)
    maker.publish(D, [campaign(), empty])
    reader.execute("update marketing.campaign_targets set arm = 'control' where user_id = 'cid'")
    with serving.connect() as connection:
        found = campaigns.summaries(connection, at(NEXT))
        over = campaigns.summaries(connection, campaign().ends_at)
    assert [(each.campaign_id, each.treatment, each.control) for each in found] == [
        ("vip-rewards-2026-02-11", 0, 0),
        (CAMPAIGN, 2, 1),
    ]
    assert (found[1].offer_type, found[1].offer_value, found[1].offer_unit) == (
        "discount",
        Decimal(25),
        "percentage",
    )
    assert [each.campaign_id for each in over] == ["vip-rewards-2026-02-11"]
