"""Budgets: what the nights and the app read of them."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import psycopg
from sqlalchemy import Engine

from marketing_assets.storage.repositories import budgets
from marketing_assets.storage.repositories.budgets import Budget
from marketing_assets_tests.storage.nights import CAMPAIGN, D, NightMaker, campaign


def limit(reader: psycopg.Connection, campaign_id: str, budget: int, reserved: int, spent: int) -> None:
    reader.execute(
        "update marketing.campaign_budgets set budget = %s, reserved = %s, spent = %s where campaign_id = %s",
        [budget, reserved, spent, campaign_id],
    )


def test_an_opened_campaign_has_the_budget_of_its_template(maker: NightMaker, serving: Engine) -> None:
    limited = campaign("vip-rewards")
    limited = replace(limited, settings=limited.settings.replace('"budget":null', '"budget":"1234.5"'))
    maker.write(D, ["ann"])
    maker.publish(D, [campaign(), limited])
    nothing = Decimal(0)
    with serving.connect() as connection:
        found = budgets.of_campaigns(connection, [CAMPAIGN, limited.campaign_id, "nobody"])
        assert budgets.of_campaigns(connection, []) == []
    assert found == [
        Budget("vip-rewards-2026-02-11", Decimal("1234.50"), nothing, nothing),
        Budget(CAMPAIGN, None, nothing, nothing),
    ]


def test_publishing_again_keeps_what_was_reserved_and_changed(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    limit(reader, CAMPAIGN, 100, 30, 20)
    maker.publish(D, [campaign()])
    with serving.connect() as connection:
        assert budgets.of_campaigns(connection, [CAMPAIGN]) == [
            Budget(CAMPAIGN, Decimal(100), Decimal(30), Decimal(20))
        ]


def test_who_has_converted_is_written_for_campaigns_with_a_limit(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine, tmp_path: Path
) -> None:
    users = ["", '"', "a,b", "Zoë 🛒", "line\nbreak", "viewed", "eligible"]
    unlimited = campaign("vip-rewards")
    maker.write(D, users)
    maker.publish(D, [campaign(), unlimited])
    maker.put_targets(D, users, unlimited.campaign_id)
    maker.publish(D)
    limit(reader, CAMPAIGN, 100, 30, 20)
    reader.execute("update marketing.campaign_targets set status = 'converted' where user_id <> 'eligible'")
    reader.execute("update marketing.campaign_targets set status = 'viewed' where user_id = 'viewed'")
    file = tmp_path / "converted.csv"
    with serving.connect() as connection:
        budgets.export_converted(connection, [CAMPAIGN, unlimited.campaign_id], file)
    maker.engine.register_csv("converted", [file], ["campaign_id", "user_id"])
    found = maker.engine.fetch("select campaign_id, user_id from converted")
    assert sorted((row["campaign_id"], row["user_id"]) for row in found) == sorted(
        (CAMPAIGN, user) for user in users[:5]
    )
    with serving.connect() as connection:
        budgets.export_converted(connection, [unlimited.campaign_id], file)
    assert file.read_text() == "campaign_id,user_id\n"
