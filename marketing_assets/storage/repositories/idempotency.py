"""Idempotency keys: calls that may be sent twice are done once, and answered alike.

A key is written in the transaction of the work itself: both are there, or neither. A second call with the key
waits for the first, and does the work where that came to nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.storage.tables import idempotency_keys

_NOT_ANSWERED = 0


@dataclass(frozen=True)
class Answered:
    """What a call with the key was answered; `body_hash` is of the call and its body."""

    body_hash: str
    status: int
    answer: Mapping[str, object]
    location: str | None


def claim(connection: Connection, caller: str, key: str, body_hash: str) -> Answered | None:
    """Take the key for this transaction; where it is taken already, what the call was answered."""
    row = {"caller": caller, "key": key, "body_hash": body_hash, "status": _NOT_ANSWERED, "answer": {}}
    keys = idempotency_keys
    taken = insert(keys).values(row).on_conflict_do_nothing().returning(keys.c.key)
    if connection.execute(taken).one_or_none() is not None:
        return None
    found = connection.execute(
        select(keys.c.body_hash, keys.c.status, keys.c.answer, keys.c.location).where(
            keys.c.caller == caller, keys.c.key == key
        )
    ).one()
    return Answered(**found._mapping)


def settle(connection: Connection, caller: str, key: str, answered: Answered) -> None:
    """Write what the call that took the key is answered."""
    mine = (idempotency_keys.c.caller == caller) & (idempotency_keys.c.key == key)
    connection.execute(update(idempotency_keys).where(mine).values(vars(answered)))
