"""Pseudonyms: the name by which logs, requests and audit entries know a user, and the way back.

A pseudonym is made with a random key of the user's own. Once that row is gone, nobody can tell whose it was.
"""

import secrets

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from marketing_assets.domain.identity import keyed_hash
from marketing_assets.storage.tables import subject_keys

_KEY_BYTES = 32


def pseudonym(connection: Connection, user_id: str) -> str:
    """The user's pseudonym, 64 hex digits; made, in the caller's transaction, where there is none yet."""
    found = _pseudonym(connection, user_id)
    if found is not None:
        return found
    key = secrets.token_bytes(_KEY_BYTES)
    made = {"user_id": user_id, "key": key, "pseudonym": keyed_hash(key, user_id)}
    statement = insert(subject_keys).values(made).on_conflict_do_nothing(index_elements=["user_id"])
    connection.execute(statement)
    again = _pseudonym(connection, user_id)  # another may have made it first
    assert again is not None
    return again


def held(connection: Connection, user_id: str) -> str:
    """The user's pseudonym, its row held until the transaction ends: an erasure waits for what it writes."""
    mine = select(subject_keys.c.pseudonym).where(subject_keys.c.user_id == user_id).with_for_update()
    name: str | None = None
    while name is None:  # an erasure may have removed it meanwhile
        pseudonym(connection, user_id)
        name = connection.execute(mine).scalar()
    return name


def user_of(connection: Connection, name: str) -> str | None:
    """The user whose pseudonym it is; None where there is none, or none any more."""
    statement = select(subject_keys.c.user_id).where(subject_keys.c.pseudonym == name)
    return connection.execute(statement).scalar()


def _pseudonym(connection: Connection, user_id: str) -> str | None:
    statement = select(subject_keys.c.pseudonym).where(subject_keys.c.user_id == user_id)
    return connection.execute(statement).scalar()
