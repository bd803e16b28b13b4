"""The share of the global holdout: frozen for a year by the first night of it that is published."""

from datetime import date, timedelta
from decimal import Decimal

import psycopg
from sqlalchemy import Engine

from marketing_assets.storage.publish import unpublish_from
from marketing_assets.storage.repositories import holdouts
from marketing_assets_tests.storage.nights import D, NightMaker, campaign

ALL = b"select year, share, frozen_on, policy_version from marketing.global_holdouts order by year"


def test_the_first_night_of_a_year_freezes_its_share(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    with serving.connect() as connection:
        assert holdouts.frozen_share(connection, 2026) is None
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    with serving.begin() as connection:
        holdouts.freeze(connection, D + timedelta(days=1), 2026, Decimal("0.5"), "other")
        assert holdouts.frozen_share(connection, 2026) == Decimal("0.05")
        assert holdouts.frozen_share(connection, 2027) is None
    assert reader.execute(ALL).fetchall() == [(2026, Decimal("0.05"), D, "p")]


def test_the_year_is_that_of_the_target_day(maker: NightMaker, reader: psycopg.Connection) -> None:
    new_years_eve = date(2026, 12, 31)
    maker.write(new_years_eve, [])
    maker.publish(new_years_eve)
    assert reader.execute(ALL).fetchall() == [(2027, Decimal("0.05"), new_years_eve, "p")]


def test_a_night_that_is_decided_again_does_not_see_what_it_froze(
    maker: NightMaker, reader: psycopg.Connection, serving: Engine
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    with serving.begin() as connection:
        assert holdouts.frozen_share(connection, 2026, before=D) is None
        assert holdouts.frozen_share(connection, 2026, before=D + timedelta(days=1)) == Decimal("0.05")
        unpublish_from(connection, D + timedelta(days=1))
        assert holdouts.frozen_share(connection, 2026) == Decimal("0.05")
        unpublish_from(connection, D)
    assert reader.execute(ALL).fetchall() == []
