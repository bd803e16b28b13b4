"""What stands before a night: what was published, whatever a killed rerun left in the lake."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from marketing_assets.domain.campaigns import Campaign
from marketing_assets.domain.targeting import EndedCampaign
from marketing_assets.engine.base import sql
from marketing_assets.storage.archive import archive, expire
from marketing_assets.storage.datasets import CAMPAIGNS
from marketing_assets.storage.repositories.campaigns import Ended
from marketing_assets.storage.standing import night_campaigns, register_resting, register_standing
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, at, campaign

UTC_ZONE = ZoneInfo("UTC")
NEXT = D + timedelta(days=1)


def put_campaigns(maker: NightMaker, day: date, outcome: str, starts_at: datetime | None = None) -> None:
    opened = campaign()
    maker.put(
        CAMPAIGNS,
        day,
        [
            [
                opened.campaign_id,
                opened.template,
                outcome,
                "",
                opened.target_pattern,
                2,
                2,
                4,
                "active",
                1,
                starts_at or opened.starts_at,
                opened.ends_at,
                Decimal("0.1"),
                opened.settings,
                "p",
            ],
        ],
    )


def standing(
    maker: NightMaker, serving: Engine, day: date, outcome: str = "kept", since: date | None = None
) -> dict[str, list[str]]:
    """Users of each relation of what stands before the night of `day`."""
    put_campaigns(maker, day, outcome)
    return registered(maker, serving, day, since)


def registered(
    maker: NightMaker, serving: Engine, day: date, since: date | None = None
) -> dict[str, list[str]]:
    engine = maker.engine
    maker.lake.register(engine, "night_campaigns", CAMPAIGNS, [day])
    opened = [each for _, each in night_campaigns(engine)]
    with serving.connect() as connection:
        register_standing(connection, engine, maker.lake, day, opened, UTC_ZONE, since=since)
    names = ("earlier_targets", "kept_targets", "earlier_decisions", "kept_decisions", "standing_targets")
    return {
        name: [str(row["user_id"]) for row in engine.fetch(f"select user_id from {name} order by user_id")]
        for name in names
    }


def test_before_the_first_night_nothing_stands(maker: NightMaker, serving: Engine) -> None:
    assert standing(maker, serving, D, "opened") == {
        "earlier_targets": [],
        "kept_targets": [],
        "earlier_decisions": [],
        "kept_decisions": [],
        "standing_targets": [],
    }


def test_earlier_nights_stand_as_they_were_published(maker: NightMaker, serving: Engine) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    assert standing(maker, serving, NEXT) == {
        "earlier_targets": ["ann", "bob"],
        "kept_targets": [],
        "earlier_decisions": ["ann", "bob", "refused-2026-02-10"],
        "kept_decisions": [],
        "standing_targets": ["ann", "bob"],
    }


def test_an_earlier_night_that_a_killed_rerun_left_different_is_cut_down(
    maker: NightMaker, serving: Engine
) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    maker.put_targets(D, ["ann", "bob", "never published"])
    found = standing(maker, serving, NEXT)
    assert found["earlier_targets"] == ["ann", "bob"]
    assert found["earlier_decisions"] == ["ann", "bob", "refused-2026-02-10"]
    assert found["standing_targets"] == ["ann", "bob"]
    assert list(maker.lake.scratch.iterdir()) == []


def test_the_night_itself_that_a_killed_rerun_left_different_is_cut_down(
    maker: NightMaker, serving: Engine
) -> None:
    maker.write(D, ["ann", "bob"])
    maker.publish(D, [campaign()])
    maker.put_targets(D, ["ann", "bob", "never published"])
    found = standing(maker, serving, D, "opened")
    assert found["kept_targets"] == ["ann", "bob"]
    assert found["kept_decisions"] == ["ann", "bob", "refused-2026-02-10"]
    assert found["earlier_targets"] == []


def test_ids_of_every_kind_survive_being_cut_down(maker: NightMaker, serving: Engine) -> None:
    users = ["", " ", '"', "\\.", "a,b", "Zoë 🛒", "line\nbreak"]
    maker.write(D, users)
    maker.publish(D, [campaign()])
    maker.put_targets(D, [*users, "never published"])
    assert standing(maker, serving, NEXT)["earlier_targets"] == sorted(users)


def test_a_night_published_with_no_target_has_none_however_the_lake_looks(
    maker: NightMaker, serving: Engine
) -> None:
    maker.write(D, [])
    maker.publish(D, [campaign()])
    maker.put_targets(D, ["never published"])
    assert standing(maker, serving, NEXT)["earlier_targets"] == []


def test_targets_that_were_archived_since_count_as_published(maker: NightMaker, serving: Engine) -> None:
    over = f"location-promo-{D}"
    maker.write(D - timedelta(days=1), ["old"], over)
    maker.publish(D - timedelta(days=1), [ended_with_its_first_day(over)])
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    archive_at = at(D + timedelta(days=3))
    assert expire(maker.lock, archive_at) == [over]
    ended = [Ended(over, at(NEXT), "expired")]
    [moved] = archive(maker.lock, maker.engine, maker.lake, ended, UTC_ZONE, archive_at)
    assert (moved.day, moved.rows["archived_targets"]) == (D, 1)

    # An open campaign as old as the archived one has both nights read; the first is found short of a row
    # in the serving tables, and its partition was left different by a killed rerun.
    maker.put_targets(D - timedelta(days=1), ["old", "never published"], over)
    put_campaigns(maker, NEXT, "kept", starts_at=at(D))
    found = registered(maker, serving, NEXT)
    assert found["earlier_targets"] == ["ann", "old"]
    assert found["earlier_decisions"] == ["ann", "old", f"refused-{D - timedelta(days=1)}", f"refused-{D}"]
    assert found["standing_targets"] == ["ann"]
    assert list(maker.lake.scratch.iterdir()) == []


def ended_with_its_first_day(campaign_id: str) -> Campaign:
    return replace(campaign("location-promo", D), campaign_id=campaign_id, ends_at=at(NEXT))


def test_nights_before_every_open_campaign_are_not_read(maker: NightMaker, serving: Engine) -> None:
    long_ago = D - timedelta(days=5)
    maker.write(long_ago, ["old"], "welcome-bonus-2026-02-06")
    maker.publish(long_ago, [campaign(opens=long_ago + timedelta(days=1))])
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    assert standing(maker, serving, NEXT)["earlier_targets"] == ["ann"]


def test_nights_of_campaigns_whose_targets_rest_are_read_though_they_are_over(
    maker: NightMaker, serving: Engine
) -> None:
    long_ago = D - timedelta(days=5)
    name = "welcome-bonus-2026-02-06"
    maker.write(long_ago, ["old"], name)
    maker.publish(long_ago, [campaign(opens=long_ago + timedelta(days=1))])
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    ended = EndedCampaign(name, "welcome-bonus", at(date(2026, 2, 6)), at(date(2026, 2, 9)))
    since = register_resting(maker.engine, {CAMPAIGN: [ended]}, UTC_ZONE)
    assert since == long_ago
    found = standing(maker, serving, NEXT, since=since)
    assert found["earlier_targets"] == ["ann", "old"]
    assert found["earlier_decisions"] == ["ann", "refused-2026-02-10"]  # of open campaigns alone
    assert found["standing_targets"] == ["ann"]
    maker.engine.create("cooling_users", sql("cooling_users"))
    assert maker.engine.fetch("select * from cooling_users") == [
        {
            "campaign_id": CAMPAIGN,
            "user_id": "old",
            "earlier_campaign": name,
            "ended_on": date(2026, 2, 9),
        }
    ]


def test_a_night_hands_on_the_campaigns_that_it_decided(maker: NightMaker, serving: Engine) -> None:
    standing(maker, serving, NEXT)
    ((outcome, handed),) = night_campaigns(maker.engine)
    assert outcome == "kept"
    assert replace(handed, policy_version="p") == replace(campaign(), policy_version="p")
