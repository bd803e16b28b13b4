"""The segments of a night are there at once and whole, whoever reads them and for how long."""

import threading
from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from marketing_assets.storage import segments
from marketing_assets_tests.storage.nights import D, NightMaker, campaign

NEXT = D + timedelta(days=1)
USERS = b"select user_id from marketing.user_segments order by user_id"
SIZES = b"select pg_table_size('marketing.user_segments_a'), pg_table_size('marketing.user_segments_b')"


def days(count: int) -> list[date]:
    return [D + timedelta(days=number) for number in range(count)]


def test_before_the_first_night_there_are_no_segments(reader: psycopg.Connection) -> None:
    assert reader.execute("select * from marketing.user_segments").fetchall() == []


def test_nights_take_turns_in_two_slots_and_leave_nothing_behind(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    live, sizes = [], set()
    for number, day in enumerate(days(5)):
        maker.write(day, [f"user{number}", "ann"])
        maker.publish(day, [campaign()])
        live.append(reader.execute("select slot, as_of from marketing.live_segments").fetchall())
        assert reader.execute(USERS).fetchall() == [("ann",), (f"user{number}",)]
        sizes.add(reader.execute(SIZES).fetchone())
    assert live == [[(slot, day)] for slot, day in zip("ababa", days(5), strict=True)]
    assert len(sizes) == 2  # the first night, and every later one


def test_publishing_a_night_again_replaces_its_segments(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    for users in (["ann", "bob"], ["bob", "cid"], ["cid"]):
        maker.write(D, users)
        maker.publish(D, [campaign()])
        assert reader.execute(USERS).fetchall() == [(user,) for user in users]


def test_who_may_read_the_segments_may_read_them_after_any_night(
    maker: NightMaker, reader: psycopg.Connection
) -> None:
    reader.execute("drop role if exists app_reader")
    reader.execute("create role app_reader")
    try:
        reader.execute("grant usage on schema marketing to app_reader")
        reader.execute("grant select on marketing.user_segments to app_reader")
        for day in days(2):
            maker.write(day, ["ann"])
            maker.publish(day, [campaign()])
            reader.execute("set role app_reader")
            assert reader.execute(USERS).fetchall() == [("ann",)]
            reader.execute("reset role")
    finally:
        reader.execute("reset role")
        reader.execute("drop owned by app_reader")
        reader.execute("drop role app_reader")


def test_a_reader_in_a_loop_sees_whole_nights_and_never_an_error(
    maker: NightMaker, database_url: str
) -> None:
    nights = days(5)
    for number, day in enumerate(nights):
        maker.write(day, [f"user{n}" for n in range(10 * (number + 1))])
    maker.publish(nights[0], [campaign()])
    seen: list[Any] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        try:
            with psycopg.connect(database_url, autocommit=True) as connection:
                while not stop.is_set():
                    statement = "select as_of, count(*) from marketing.user_segments group by as_of"
                    seen.append(connection.execute(statement).fetchall())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for day in nights[1:]:
        maker.publish(day)
    stop.set()
    thread.join(10)
    assert errors == []
    assert len(seen) > len(nights)
    whole = [[(day, 10 * (number + 1))] for number, day in enumerate(nights)]
    assert [night for night in seen if night not in whole] == []
    assert seen == sorted(seen)


def test_a_transaction_that_began_before_a_night_reads_the_night_before_in_every_table(
    maker: NightMaker, reader: psycopg.Connection, database_url: str
) -> None:
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    maker.write(NEXT, ["bob"])
    with psycopg.connect(database_url) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert old.execute("select max(day) from marketing.published_nights").fetchone() == (D,)
        maker.publish(NEXT)
        assert old.execute(USERS).fetchall() == [("ann",)]
        assert old.execute("select user_id from marketing.campaign_targets").fetchall() == [("ann",)]
    assert reader.execute(USERS).fetchall() == [("bob",)]


def test_a_reader_that_never_lets_go_holds_up_neither_nights_nor_other_readers(
    maker: NightMaker,
    reader: psycopg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "_TRIES", 2)
    nights = days(4)
    maker.write(D, ["ann"])
    maker.publish(D, [campaign()])
    with psycopg.connect(database_url) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for number, day in enumerate(nights[1:]):
            assert old.execute(USERS).fetchall() == [("ann",)]
            maker.write(day, [f"user{number}"])
            maker.publish(day)
            assert reader.execute(USERS).fetchall() == [(f"user{number}",)]
        assert old.execute(USERS).fetchall() == [("ann",)]
