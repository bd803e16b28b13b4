"""Idempotency keys: who comes first does the work, who comes second hears what it came to."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from marketing_assets.storage.repositories import idempotency
from marketing_assets.storage.repositories.idempotency import Answered

ANSWERED = Answered("hash", 201, {"campaign_id": "x"}, "/campaigns/x")


def test_a_key_is_taken_once_by_each_caller(serving: Engine) -> None:
    with serving.begin() as connection:
        assert idempotency.claim(connection, "ann", "k", "hash") is None
        idempotency.settle(connection, "ann", "k", ANSWERED)
    with serving.begin() as connection:
        assert idempotency.claim(connection, "ann", "k", "another") == ANSWERED
        assert idempotency.claim(connection, "bob", "k", "hash") is None
        assert idempotency.claim(connection, "ann", "l", "hash") is None


@pytest.mark.parametrize("ends_well", [True, False])
def test_who_comes_second_waits_for_the_first(serving: Engine, ends_well: bool) -> None:
    def second() -> Answered | None:
        with serving.begin() as connection:
            return idempotency.claim(connection, "ann", "k", "hash")

    with ThreadPoolExecutor(1) as pool, serving.connect() as connection:
        assert idempotency.claim(connection, "ann", "k", "hash") is None
        waiting = pool.submit(second)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        idempotency.settle(connection, "ann", "k", ANSWERED)
        if ends_well:
            connection.commit()
        else:
            connection.rollback()
        # What came to nothing is the second one's to do.
        assert waiting.result(timeout=10) == (ANSWERED if ends_well else None)
