"""A process is seen by its database session: from the beginning to the end, and soon after a restart."""

import psycopg
import pytest

from marketing_assets.storage.presence import seen
from marketing_assets_tests.end_to_end.daemon import wait_for

HOLDER = "marketing_assets run 1234abcd"
SESSIONS = f"select pid from pg_stat_activity where application_name = '{HOLDER}'"


def sessions(database_url: str) -> list[tuple[int]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(SESSIONS).fetchall()


@pytest.mark.verify
def test_a_session_stands_while_the_block_runs_and_comes_back_after_it_was_lost(
    url: str, database_url: str
) -> None:
    with seen(url, HOLDER):
        [(first,)] = wait_for("session", lambda: sessions(database_url))
        with psycopg.connect(database_url) as connection:
            connection.execute("select pg_terminate_backend(%s, 5000)", [first])
        [(second,)] = wait_for("session after it was lost", lambda: sessions(database_url), 10)
        assert second != first
    assert wait_for("end of the session", lambda: sessions(database_url) == [], 5)


def test_a_database_that_cannot_be_reached_disturbs_nobody(url: str) -> None:
    with seen(url.replace("/test_", "/no_such_"), HOLDER):
        done = True
    assert done
