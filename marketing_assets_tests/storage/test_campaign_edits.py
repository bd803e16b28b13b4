"""What people do to campaigns: written whole, logged, and never lost to a night or to somebody else."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from marketing_assets.domain.edits import CampaignEdit, NewCampaign
from marketing_assets.errors import RefusedChangeError, StaleRevisionError, UnknownCampaignError
from marketing_assets.policy.load import load_policy
from marketing_assets.policy.model import Policy, frozen_terms
from marketing_assets.storage import database, publish
from marketing_assets.storage.datasets import CAMPAIGN_TARGETS
from marketing_assets.storage.publish import Published, unpublish_from
from marketing_assets.storage.repositories import audit, budgets, campaign_edits, campaigns
from marketing_assets.storage.repositories.budgets import Budget
from marketing_assets.storage.repositories.campaign_edits import Change, Editor, Rest, Revised
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

NEXT = D + timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")
NOW = at(NEXT, 9)
ENDS = at(NEXT + timedelta(days=21))
RESTS_UNTIL = ENDS + timedelta(days=30)
REST = Rest(30, UTC_ZONE)
ANN = Editor("staff:ann", NOW)
TEN_PERCENT = {"type": "discount", "value": 10, "unit": "percentage"}
ROW = b"select * from marketing.marketing_campaigns where campaign_id = %s"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(None)


@pytest.fixture
def opened(maker: NightMaker) -> str:
    """A campaign of the policy with two targets."""
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    return CAMPAIGN


def asked(**changes: object) -> NewCampaign:
    values = {
        "name": "Summer Sale",
        "description": "Save 10%.",
        "offer": TEN_PERCENT,
        "pattern": "general",
        "ends_at": NOW + timedelta(days=20),
        "budget": "500",
    }
    return NewCampaign.model_validate({**values, **changes})


def create(serving: Engine, policy: Policy, **changes: object) -> Revised:
    with serving.begin() as connection:
        return campaign_edits.create_manual(connection, asked(**changes), policy, UTC_ZONE, ANN)


def edit(serving: Engine, campaign_id: str, revision: int, by: Editor = ANN, **changes: object) -> Revised:
    change = CampaignEdit.model_validate(changes)
    with serving.begin() as connection:
        return campaign_edits.edit(connection, campaign_id, revision, change, by)


def pause(serving: Engine, campaign_id: str, revision: int, by: Editor = ANN) -> Revised:
    with serving.begin() as connection:
        return campaign_edits.pause(connection, campaign_id, revision, REST, by)


def resume(serving: Engine, campaign_id: str, revision: int, by: Editor = ANN) -> Revised:
    with serving.begin() as connection:
        return campaign_edits.resume(connection, campaign_id, revision, by)


def end_now(serving: Engine, campaign_id: str, revision: int, by: Editor = ANN) -> Revised:
    with serving.begin() as connection:
        return campaign_edits.end_now(connection, campaign_id, revision, REST, by)


def row(reader: psycopg.Connection, campaign_id: str, *names: str) -> tuple[Any, ...]:
    cursor = reader.execute(ROW, [campaign_id])
    assert cursor.description is not None
    columns = [column.name for column in cursor.description]
    [found] = cursor.fetchall()
    return tuple(found[columns.index(name)] for name in names)


def settings(reader: psycopg.Connection, campaign_id: str) -> dict[int, Any]:
    statement = b"select version, settings from marketing.campaign_versions where campaign_id = %s"
    return dict(reader.execute(statement, [campaign_id]).fetchall())


def pauses(reader: psycopg.Connection) -> list[tuple[Any, ...]]:
    statement = b"select campaign_id, paused_at, resumed_at from marketing.campaign_pauses order by 1, 2"
    return reader.execute(statement).fetchall()


def targets(reader: psycopg.Connection) -> list[tuple[Any, ...]]:
    statement = b"select user_id, arm, campaign_version from marketing.campaign_targets order by 1"
    return reader.execute(statement).fetchall()


def logged(serving: Engine, campaign_id: str) -> list[tuple[Any, ...]]:
    with serving.connect() as connection:
        found = audit.entries(connection, f"campaign:{campaign_id}")
    return [(each.actor, each.at, each.action, each.before, each.after) for each in found]


# Created by hand


def test_a_campaign_by_hand_is_there_for_the_next_night(
    serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    made = create(serving, policy)
    name = "manual-summer-sale-2026-02-11"
    assert made == Revised(name, revision=1, version=1, status="active")
    assert row(
        reader,
        name,
        *("template", "campaign_name", "campaign_type", "description", "offer_type", "offer_value"),
        *(
            "offer_unit",
            "target_pattern",
            "qualifying_criteria",
            "status",
            "priority",
            "starts_at",
            "ends_at",
        ),
        *("holdout_share", "attribution_days", "origin", "policy_version", "created_by", "suppressed_until"),
    ) == (
        *("manual-summer-sale", "Summer Sale", "manual", "Save 10%.", "discount", Decimal(10)),
        *("percentage", "general", {"pattern": "general"}, "active", 8, NOW, NOW + timedelta(days=20)),
        *(Decimal("0.1"), 10, "manual", policy.version, "staff:ann", None),
    )
    with serving.connect() as connection:
        [found] = campaigns.not_over(connection, at(D))
        assert budgets.of_campaigns(connection, [name]) == [
            Budget(name, Decimal(500), Decimal(0), Decimal(0))
        ]
    assert (found.campaign_id, found.origin, found.starts_at) == (name, "manual", NOW)
    assert frozen_terms(found.settings).offer.value == 10
    assert logged(serving, name) == [
        (
            "staff:ann",
            NOW,
            "campaign.created",
            {},
            {
                "status": "active",
                "starts_at": "2026-02-11T09:00:00+00:00",
                "ends_at": "2026-03-03T09:00:00+00:00",
                "name": "Summer Sale",
                "description": "Save 10%.",
                "offer": {"type": "discount", "value": "10", "unit": "percentage", "at": None},
                "budget": "500",
                "holdout_share": "0.1",
                "priority": 8,
            },
        )
    ]


def test_criteria_of_its_own_are_kept(serving: Engine, reader: psycopg.Connection, policy: Policy) -> None:
    rule = [
        {"any_of": [{"feature": "spend", "at_least": "100"}, {"feature": "top_location", "equals": "A'"}]}
    ]
    made = create(serving, policy, pattern=None, criteria=rule)
    found = row(reader, made.campaign_id, "target_pattern", "qualifying_criteria")
    assert found == ("manual_summer_sale_20260211", {"rule": rule})


def test_a_name_that_is_taken_gets_the_next_number(serving: Engine, policy: Policy) -> None:
    made = [create(serving, policy, name=name).campaign_id for name in ("A b", "a-B!", "A b 2", "a/b")]
    assert made == [
        "manual-a-b-2026-02-11",
        "manual-a-b-2-2026-02-11",
        "manual-a-b-2-2-2026-02-11",
        "manual-a-b-3-2026-02-11",
    ]


@pytest.mark.parametrize(
    "name",
    ["'; drop table marketing.marketing_campaigns; --", "%s %(x)s :name $1 \\", "Zoë 🛒 “sale”", "x" * 300],
)
def test_a_hostile_name_is_a_name(
    name: str, serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    made = create(serving, policy, name=name, description=name)
    assert row(reader, made.campaign_id, "campaign_name", "description") == (name, name)
    assert edit(serving, made.campaign_id, 1, name=f"{name[:200]} again").revision == 2
    assert row(reader, made.campaign_id, "campaign_name") == (f"{name[:200]} again",)


def test_two_who_create_the_same_at_once_both_get_theirs(url: str, serving: Engine, policy: Policy) -> None:
    made = at_once(
        url, lambda connection: campaign_edits.create_manual(connection, asked(), policy, UTC_ZONE, ANN)
    )
    assert sorted(each.campaign_id for each in made) == [
        "manual-summer-sale-2-2026-02-11",
        "manual-summer-sale-2026-02-11",
    ]
    with serving.connect() as connection:
        assert len(campaigns.not_over(connection, at(D))) == 2


def test_what_makes_no_sense_leaves_nothing(
    serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    with pytest.raises(RefusedChangeError, match="pattern"):
        create(serving, policy, pattern="dormant")
    assert reader.execute("select count(*) from marketing.marketing_campaigns").fetchall() == [(0,)]
    assert reader.execute("select count(*) from marketing.audit_log").fetchall() == [(0,)]


# Edits


def test_an_edited_offer_is_a_new_version_for_new_targets(
    opened: str, maker: NightMaker, serving: Engine, reader: psycopg.Connection
) -> None:
    assert edit(serving, opened, 1, offer={**TEN_PERCENT, "value": 12}, name="Hello") == Revised(
        opened, revision=2, version=2, status="active"
    )
    assert row(reader, opened, "campaign_name", "offer_value", "updated_at") == ("Hello", Decimal(12), NOW)
    versions = settings(reader, opened)
    assert (versions[1]["offer"]["value"], versions[1]["name"]) == ("25", "A Warm Welcome")
    assert (versions[2]["offer"]["value"], versions[2]["name"]) == ("12", "Hello")
    assert {**versions[2], "offer": None, "name": ""} == {**versions[1], "offer": None, "name": ""}
    assert {version for _, _, version in targets(reader)} == {1}
    with serving.connect() as connection:
        [found] = campaigns.not_over(connection, at(NEXT))
    assert (found.version, frozen_terms(found.settings).offer.value) == (2, Decimal(12))
    assert logged(serving, opened) == [
        (
            "staff:ann",
            NOW,
            "campaign.edited",
            {
                "version": 1,
                "name": "A Warm Welcome",
                "offer": {"type": "discount", "value": "25", "unit": "percentage", "at": None},
            },
            {
                "version": 2,
                "name": "Hello",
                "offer": {"type": "discount", "value": "12", "unit": "percentage", "at": None},
            },
        )
    ]
    maker.publish(D, [campaign()])
    assert row(reader, opened, "campaign_name", "version", "revision") == ("Hello", 2, 2)
    assert settings(reader, opened) == versions


def test_texts_priority_and_end_are_no_new_version(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    ends_at = ENDS + timedelta(days=5)
    revised = edit(serving, opened, 1, name="Hello", description="Again", priority=1, ends_at=ends_at)
    assert revised == Revised(opened, revision=2, version=1, status="active")
    assert row(reader, opened, "campaign_name", "description", "priority", "ends_at", "suppressed_until") == (
        "Hello",
        "Again",
        1,
        ends_at,
        None,
    )
    [found] = settings(reader, opened).values()
    assert (found["name"], found["description"], found["priority"]) == ("Hello", "Again", 1)
    valid = reader.execute("select distinct valid_until from marketing.campaign_targets").fetchall()
    assert valid == [(at(date(2026, 3, 4)),)]
    [(_, _, _, before, after)] = logged(serving, opened)
    assert (before["ends_at"], after["ends_at"]) == ("2026-03-04T00:00:00+00:00", "2026-03-09T00:00:00+00:00")
    assert "offer" not in after


def test_a_control_share_is_a_new_version_and_counts_for_the_next_night(opened: str, serving: Engine) -> None:
    assert edit(serving, opened, 1, holdout_share="0.25").version == 2
    with serving.connect() as connection:
        [found] = campaigns.not_over(connection, at(NEXT))
    assert found.holdout_share == Decimal("0.25")
    assert frozen_terms(found.settings).holdout_share == Decimal("0.25")


def test_an_edit_that_changes_nothing_is_a_revision_all_the_same(opened: str, serving: Engine) -> None:
    assert edit(serving, opened, 1) == Revised(opened, revision=2, version=1, status="active")
    assert logged(serving, opened) == [("staff:ann", NOW, "campaign.edited", {}, {})]


def test_a_budget_below_what_is_spent_and_reserved_is_refused(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    reader.execute("update marketing.campaign_budgets set reserved = 30.01, spent = 20")
    with pytest.raises(
        RefusedChangeError, match=r"20.00 is spent and 30.01 reserved already, more than 50"
    ) as no:
        edit(serving, opened, 1, budget=50, name="Hello")
    assert "at least 50.01" in no.value.remedy
    assert row(reader, opened, "revision", "campaign_name") == (1, "A Warm Welcome")
    assert edit(serving, opened, 1, budget="50.01").version == 1
    budget = "select budget, reserved, spent from marketing.campaign_budgets"
    assert reader.execute(budget.encode()).fetchall() == [(Decimal("50.01"), Decimal("30.01"), Decimal(20))]
    assert settings(reader, opened)[1]["budget"] == "50.01"
    with pytest.raises(psycopg.errors.CheckViolation):
        reader.execute("update marketing.campaign_budgets set reserved = reserved + 0.01")
    edit(serving, opened, 2, budget=None)
    reader.execute("update marketing.campaign_budgets set reserved = reserved + 0.01")
    assert reader.execute(budget.encode()).fetchall() == [(None, Decimal("30.02"), Decimal(20))]


def test_a_reward_reserved_while_the_budget_is_cut_counts(
    url: str, opened: str, serving: Engine, database_url: str
) -> None:
    with psycopg.connect(database_url) as conversion:
        conversion.execute("update marketing.campaign_budgets set reserved = reserved + 60")
        cut = Background(url, lambda engine: edit(engine, opened, 1, budget=50))
        wait_until_blocked(serving)
        conversion.commit()
    with pytest.raises(RefusedChangeError, match=r"60.00 reserved already"):
        cut.result()


def test_what_is_over_is_not_edited(opened: str, serving: Engine, reader: psycopg.Connection) -> None:
    late = Editor("staff:ann", ENDS)
    with pytest.raises(RefusedChangeError, match=f"{opened} is over"):
        edit(serving, opened, 1, late, ends_at=ENDS + timedelta(days=1))
    for status in ("expired", "archived"):
        reader.execute("update marketing.marketing_campaigns set status = %s", [status])
        for change in (edit, pause, end_now):
            with pytest.raises(RefusedChangeError, match=f"{opened} is over"):
                change(serving, opened, 1)
    with pytest.raises(RefusedChangeError, match="is archived"):
        resume(serving, opened, 1)


@pytest.mark.parametrize("ends_at", [NOW, at(NEXT), at(NEXT) + timedelta(days=366, seconds=1)])
def test_an_end_that_makes_no_sense_is_refused(ends_at: datetime, opened: str, serving: Engine) -> None:
    with pytest.raises(RefusedChangeError, match="ends_at"):
        edit(serving, opened, 1, ends_at=ends_at)


# One after the other


@pytest.mark.parametrize("change", [edit, pause, resume, end_now])
def test_a_stale_revision_and_an_unknown_campaign_are_told_apart(
    change: Callable[[Engine, str, int], Revised], opened: str, serving: Engine
) -> None:
    edit(serving, opened, 1, name="Hello")
    for revision in (1, 3):
        with pytest.raises(StaleRevisionError, match="it is at revision 2") as stale:
            change(serving, opened, revision)
        assert stale.value.revision == 2
    with pytest.raises(UnknownCampaignError, match="no campaign 'nobody'"):
        change(serving, "nobody", 1)
    assert len(logged(serving, opened)) == 1


def test_of_two_editors_at_once_the_second_hears_of_the_first(
    url: str, opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    first = {"offer": {**TEN_PERCENT, "value": 11}}
    with serving.begin() as connection:
        campaign_edits.edit(connection, opened, 1, CampaignEdit.model_validate(first), ANN)
        second = Background(url, lambda engine: edit(engine, opened, 1, offer={**TEN_PERCENT, "value": 12}))
        wait_until_blocked(serving)
    with pytest.raises(StaleRevisionError, match="it is at revision 2, not 1"):
        second.result()
    assert row(reader, opened, "offer_value", "version", "revision") == (Decimal(11), 2, 2)
    assert sorted(settings(reader, opened)) == [1, 2]
    assert len(logged(serving, opened)) == 1


def test_of_many_editors_at_once_one_wins(url: str, opened: str, reader: psycopg.Connection) -> None:
    def change(connection: Connection) -> Revised | None:
        try:
            return campaign_edits.edit(
                connection, opened, 1, CampaignEdit.model_validate({"holdout_share": "0.3"}), ANN
            )
        except StaleRevisionError:
            return None

    assert at_once(url, change, 6) == [Revised(opened, revision=2, version=2, status="active")]
    assert row(reader, opened, "version", "revision") == (2, 2)


# Paused, resumed, ended


def test_a_pause_suppresses_the_template_until_it_is_resumed(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    assert pause(serving, opened, 1) == Revised(opened, revision=2, version=1, status="paused")
    assert row(reader, opened, "status", "suppressed_until", "ends_at") == ("paused", RESTS_UNTIL, ENDS)
    assert pauses(reader) == [(opened, NOW, None)]
    with pytest.raises(RefusedChangeError, match="is paused"):
        pause(serving, opened, 2)
    later = Editor("staff:bob", NOW + timedelta(hours=2))
    assert resume(serving, opened, 2, later).status == "active"
    assert row(reader, opened, "status", "suppressed_until", "revision") == ("active", None, 3)
    assert pauses(reader) == [(opened, NOW, later.at)]
    with pytest.raises(RefusedChangeError, match="is active"):
        resume(serving, opened, 3)
    pause(serving, opened, 3, replace(later, at=later.at + timedelta(hours=1)))
    assert pauses(reader)[1:] == [(opened, later.at + timedelta(hours=1), None)]
    rests = {"status": "paused", "suppressed_until": "2026-04-03T00:00:00+00:00"}
    stands = {"status": "active", "suppressed_until": None}
    assert logged(serving, opened)[:2] == [
        ("staff:ann", NOW, "campaign.paused", stands, rests),
        ("staff:bob", later.at, "campaign.resumed", rests, stands),
    ]


def test_a_clock_that_stands_still_or_goes_back_ends_no_pause_before_it_began(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    pause(serving, opened, 1)
    resume(serving, opened, 2, replace(ANN, at=NOW - timedelta(hours=1)))
    assert pauses(reader) == [(opened, NOW, NOW)]
    pause(serving, opened, 3)
    assert pauses(reader) == [(opened, NOW, None)]


def test_another_end_moves_the_rest_of_a_paused_campaign(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    pause(serving, opened, 1)
    edit(serving, opened, 2, ends_at=ENDS + timedelta(days=5))
    assert row(reader, opened, "suppressed_until") == (RESTS_UNTIL + timedelta(days=5),)


def test_a_rest_is_counted_in_days_of_the_calendar() -> None:
    rest = Rest(30, ZoneInfo("Europe/Paris"))
    end = datetime(2026, 3, 3, 23, tzinfo=UTC)  # midnight of the 4th; the clock is put forward on the 29th
    assert rest.after(end) == datetime(2026, 4, 2, 22, tzinfo=UTC)


def test_a_campaign_that_is_ended_is_over_and_its_template_rests_as_if_it_had_run_on(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    assert end_now(serving, opened, 1) == Revised(opened, revision=2, version=1, status="expired")
    shown = row(reader, opened, "status", "ends_at", "ended_by_hand_at", "suppressed_until")
    assert shown == ("expired", NOW, NOW, RESTS_UNTIL)
    assert len(targets(reader)) == 2
    with pytest.raises(RefusedChangeError, match="is over"):
        end_now(serving, opened, 2)
    with serving.connect() as connection:
        [found] = campaigns.not_over(connection, RESTS_UNTIL - timedelta(seconds=1))
        assert campaigns.not_over(connection, RESTS_UNTIL) == []
    assert (found.status, found.ended_by_hand_at) == ("expired", NOW)
    assert logged(serving, opened) == [
        (
            "staff:ann",
            NOW,
            "campaign.ended",
            {"status": "active", "ends_at": "2026-03-04T00:00:00+00:00", "suppressed_until": None},
            {
                "status": "expired",
                "ends_at": "2026-02-11T09:00:00+00:00",
                "suppressed_until": "2026-04-03T00:00:00+00:00",
            },
        )
    ]


def test_a_suppressed_template_can_be_let_go_and_its_campaign_stays_over(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    end_now(serving, opened, 1)
    assert resume(serving, opened, 2) == Revised(opened, revision=3, version=1, status="expired")
    assert row(reader, opened, "suppressed_until", "ends_at") == (None, NOW)


def test_a_paused_campaign_is_ended_with_its_pause(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    pause(serving, opened, 1)
    end_now(serving, opened, 2, replace(ANN, at=NOW + timedelta(days=1)))
    assert row(reader, opened, "status", "suppressed_until") == ("expired", RESTS_UNTIL)
    assert pauses(reader) == [(opened, NOW, None)]


def test_a_campaign_that_has_not_begun_never_begins(
    serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    starts_at = NOW + timedelta(days=3)
    made = create(serving, policy, starts_at=starts_at)
    assert end_now(serving, made.campaign_id, 1).status == "expired"
    shown = row(reader, made.campaign_id, "starts_at", "ends_at", "ended_by_hand_at", "suppressed_until")
    assert shown == (starts_at, NOW + timedelta(days=20), NOW, None)


def test_a_campaign_by_hand_suppresses_no_template(
    serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    made = create(serving, policy)
    pause(serving, made.campaign_id, 1)
    assert row(reader, made.campaign_id, "status", "suppressed_until") == ("paused", None)
    assert resume(serving, made.campaign_id, 2).status == "active"


# While a night runs


@pytest.mark.parametrize("change", [pause, end_now])
def test_what_was_decided_before_a_pause_or_an_end_is_published_after_it_in_both_arms(
    change: Callable[[Engine, str, int], Revised],
    opened: str,
    maker: NightMaker,
    serving: Engine,
    reader: psycopg.Connection,
) -> None:
    decide(maker, {"cid": "treatment", "dan": "control"})
    status = change(serving, opened, 1).status
    before = row(reader, opened, "status", "ends_at", "suppressed_until", "revision")
    assert maker.publish(NEXT) == Published(new_campaigns=0, new_targets=2, targets=2, segments=2)
    assert targets(reader)[2:] == [("cid", "treatment", 1), ("dan", "control", 1)]
    assert row(reader, opened, "status", "ends_at", "suppressed_until", "revision") == before
    assert before[0] == status
    maker.lake.register(maker.engine, "written", CAMPAIGN_TARGETS, [NEXT])
    written = maker.engine.fetch("select user_id, arm from written order by user_id")
    assert [(each["user_id"], each["arm"], 1) for each in written] == targets(reader)[2:]
    assert maker.publish(NEXT).new_targets == 0


def test_what_was_decided_before_an_edit_keeps_the_promise_it_was_decided_with(
    opened: str, maker: NightMaker, serving: Engine, reader: psycopg.Connection
) -> None:
    decide(maker, {"cid": "treatment", "dan": "control"})
    edit(serving, opened, 1, offer={**TEN_PERCENT, "value": 12}, ends_at=ENDS - timedelta(days=7))
    maker.publish(NEXT)
    assert targets(reader)[2:] == [("cid", "treatment", 1), ("dan", "control", 1)]
    assert reader.execute("select distinct valid_until from marketing.campaign_targets").fetchall() == [
        (ENDS,)
    ]
    assert row(reader, opened, "version", "offer_value") == (2, Decimal(12))
    assert settings(reader, opened)[1]["offer"]["value"] == "25"


def test_a_night_that_is_published_makes_no_edit_wait(
    opened: str,
    maker: NightMaker,
    serving: Engine,
    reader: psycopg.Connection,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide(maker, {"cid": "treatment"})
    last = publish._record

    def edit_then_record(*arguments: Any) -> None:
        with serving.begin() as connection:
            connection.execute(text("set local lock_timeout = '5s'"))
            change = CampaignEdit.model_validate({"offer": {**TEN_PERCENT, "value": 12}, "budget": 400})
            campaign_edits.edit(connection, opened, 1, change, ANN)
            campaign_edits.pause(connection, opened, 2, REST, ANN)
            campaign_edits.create_manual(connection, asked(), policy, UTC_ZONE, ANN)
        last(*arguments)

    monkeypatch.setattr(publish, "_record", edit_then_record)
    maker.publish(NEXT)
    assert row(reader, opened, "status", "version", "revision") == ("paused", 2, 3)
    assert len(targets(reader)) == 3


def test_an_edit_that_is_not_finished_makes_no_night_wait(
    opened: str, maker: NightMaker, serving: Engine, reader: psycopg.Connection
) -> None:
    decide(maker, {"cid": "treatment"})
    maker.lock.session.exec_driver_sql("set lock_timeout = '5s'")
    maker.lock.session.commit()
    with serving.begin() as connection:
        campaign_edits.pause(connection, opened, 1, REST, ANN)
        assert maker.publish(NEXT).new_targets == 1
    assert row(reader, opened, "status") == ("paused",)


def test_the_clean_up_keeps_what_people_changed(
    opened: str, serving: Engine, reader: psycopg.Connection
) -> None:
    ends_at = ENDS + timedelta(days=5)
    edit(serving, opened, 1, ends_at=ends_at)
    with serving.begin() as connection:
        assert campaigns.over(connection, ENDS) == []
        assert [each.campaign_id for each in campaigns.over(connection, ends_at)] == [opened]
        assert campaigns.set_status(connection, [opened], ("active", "paused"), "expired", ends_at) == 1
    assert row(reader, opened, "status", "revision") == ("expired", 3)
    with pytest.raises(StaleRevisionError):
        edit(serving, opened, 2, name="Hello")


def test_unpublishing_removes_budgets_pauses_and_versions_of_what_it_removes(
    opened: str, serving: Engine, reader: psycopg.Connection, policy: Policy
) -> None:
    made = create(serving, policy)
    for name in (opened, made.campaign_id):
        edit(serving, name, 1, offer={**TEN_PERCENT, "value": 12})
        pause(serving, name, 2)
    with serving.begin() as connection:
        unpublish_from(connection, D)
    for table in ("marketing_campaigns", "campaign_budgets", "campaign_pauses"):
        found = reader.execute(f"select campaign_id from marketing.{table}".encode()).fetchall()
        assert found == [(made.campaign_id,)]
    assert sorted(settings(reader, made.campaign_id)) == [1, 2]


def decide(maker: NightMaker, arms: dict[str, str]) -> None:
    """The partitions of the night of `NEXT`, with these new targets."""
    maker.write(NEXT, list(arms))
    rows = [
        [CAMPAIGN, 1, user, arm, "{}", None, None, None, None, NEXT + timedelta(days=1), at(NEXT, 24), ENDS]
        for user, arm in arms.items()
    ]
    maker.put(CAMPAIGN_TARGETS, NEXT, rows)


class Background:
    """A change in a thread of its own, with its own connections."""

    def __init__(self, url: str, change: Callable[[Engine], Revised]) -> None:
        self._error: Exception | None = None
        self._revised: Revised | None = None

        def work() -> None:
            engine = database.connect(url)
            try:
                self._revised = change(engine)
            except Exception as error:
                self._error = error
            finally:
                engine.dispose()

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def result(self) -> Revised | None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._revised


def wait_until_blocked(serving: Engine) -> None:
    """Until a session of this database waits for another one."""
    waiting = text(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
    )
    for _ in range(1000):
        with serving.connect() as connection:
            if connection.execute(waiting).scalar():
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


def at_once(url: str, change: Callable[[Connection], Revised | None], times: int = 2) -> list[Revised]:
    """The change in as many sessions at once; what those gave that made one."""
    made: list[Revised | None] = []
    start = threading.Barrier(times)

    def work() -> None:
        engine = database.connect(url)
        with engine.begin() as connection:
            connection.execute(text("select 1"))
            start.wait(timeout=30)
            made.append(change(connection))
        engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(made) == times
    return [each for each in made if each is not None]


def changed(serving: Engine, campaign_id: str, revision: int, status: str | None, **edits: object) -> Revised:
    wanted = Change(CampaignEdit.model_validate(edits), status, REST)
    with serving.begin() as connection:
        return campaign_edits.change(connection, campaign_id, revision, wanted, ANN)


def test_an_edit_and_a_pause_come_in_one_go(serving: Engine, policy: Policy) -> None:
    name = create(serving, policy).campaign_id
    assert changed(serving, name, 1, "paused", offer={**TEN_PERCENT, "value": 5}) == Revised(
        name, 3, 2, "paused"
    )
    assert changed(serving, name, 3, "paused") == Revised(name, 3, 2, "paused")  # as it is
    assert changed(serving, name, 3, None, name="Rest") == Revised(name, 4, 2, "paused")
    assert changed(serving, name, 4, "active") == Revised(name, 5, 2, "active")
    with pytest.raises(StaleRevisionError):
        changed(serving, name, 4, "active")


def test_a_pause_that_is_refused_takes_the_edit_with_it(serving: Engine, policy: Policy) -> None:
    name = create(serving, policy).campaign_id
    with pytest.raises(RefusedChangeError, match="ends_at"):
        changed(serving, name, 1, "paused", name="Other", ends_at=NOW - timedelta(days=1))
    with serving.connect() as connection:
        assert connection.execute(text("select campaign_name from marketing.marketing_campaigns")).all() == [
            ("Summer Sale",)
        ]


def test_it_is_ended_at_whatever_revision_where_none_is_said(serving: Engine, policy: Policy) -> None:
    name = create(serving, policy).campaign_id
    edit(serving, name, 1, name="Other")
    with serving.begin() as connection:
        ended = campaign_edits.end_now(
            connection, name, None, REST, replace(ANN, at=NOW + timedelta(hours=1))
        )
    assert ended == Revised(name, 3, 1, "expired")
