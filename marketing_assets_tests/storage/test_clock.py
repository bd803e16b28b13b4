"""The one clock: the system's, unless a living session simulates another instant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from marketing_assets.errors import DatabaseError
from marketing_assets.storage import clock
from marketing_assets_tests.storage.conftest import Kill

NIGHT = datetime(2026, 2, 11, 2, tzinfo=UTC)


def now(serving: Engine) -> datetime:
    with serving.connect() as connection:
        return clock.now(connection)


def is_system_time(instant: datetime) -> bool:
    return instant.tzinfo is UTC and abs(datetime.now(UTC) - instant) < timedelta(seconds=5)


def test_it_is_the_systems_time_where_nobody_simulates(serving: Engine) -> None:
    assert is_system_time(now(serving))


def test_a_simulated_instant_counts_for_every_session_until_the_block_ends(serving: Engine) -> None:
    with clock.simulated(serving, "test") as simulated:
        assert is_system_time(now(serving))
        simulated.set(NIGHT)
        assert now(serving) == NIGHT
        simulated.set((NIGHT + timedelta(days=1)).astimezone(timezone(timedelta(hours=9))))
        assert now(serving) == NIGHT + timedelta(days=1)
        assert now(serving).tzinfo is UTC
    assert is_system_time(now(serving))


def test_an_error_in_the_block_puts_the_systems_clock_back(serving: Engine) -> None:
    def fail_in_the_past() -> None:
        with clock.simulated(serving, "test") as simulated:
            simulated.set(NIGHT)
            raise ValueError("a night failed")

    with pytest.raises(ValueError, match="a night failed"):
        fail_in_the_past()
    assert is_system_time(now(serving))


def test_a_second_simulator_is_refused_and_changes_nothing(serving: Engine) -> None:
    with clock.simulated(serving, "marketing demo") as simulated:
        simulated.set(NIGHT)
        with (
            pytest.raises(DatabaseError, match="already simulated by marketing demo") as refused,
            clock.simulated(serving, "marketing rebuild"),
        ):
            pass
        assert "stop it" in refused.value.remedy
        assert now(serving) == NIGHT


def test_a_simulated_instant_dies_with_its_session(url: str, serving: Engine, kill: Kill) -> None:
    demo = create_engine(url, poolclass=NullPool, connect_args={"application_name": "killed demo"})
    with demo.connect() as connection:
        clock.SimulatedClock(connection, "marketing demo").set(NIGHT)
        assert now(serving) == NIGHT
        assert kill("killed demo") == 1
        assert is_system_time(now(serving))
        # The row that the killed one left stands in nobody's way.
        with clock.simulated(serving, "next demo") as simulated:
            simulated.set(NIGHT)
            assert now(serving) == NIGHT
    assert is_system_time(now(serving))


def test_a_simulator_whose_session_was_ended_says_so(url: str, serving: Engine, kill: Kill) -> None:
    demo = create_engine(url, poolclass=NullPool, connect_args={"application_name": "ended demo"})

    def simulate() -> None:
        with clock.simulated(demo, "marketing demo") as simulated:
            simulated.set(NIGHT)
            kill("ended demo")

    with pytest.raises((DatabaseError, OperationalError)):
        simulate()
    assert is_system_time(now(serving))


def test_an_instant_set_by_hand_counts_until_it_is_deleted(serving: Engine) -> None:
    with serving.begin() as connection:
        connection.execute(
            text("insert into marketing.simulated_clock (instant, set_by) values (:at, 'a developer')"),
            {"at": NIGHT},
        )
    assert now(serving) == NIGHT
    with serving.begin() as connection:
        connection.execute(text("delete from marketing.simulated_clock"))
    assert is_system_time(now(serving))
