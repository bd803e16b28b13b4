"""`marketing export` and `marketing erase`: a user's requests, asked by somebody at the machine."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from marketing_assets.domain.identity import keyed_hash, stored_id
from marketing_assets.errors import RequestError
from marketing_assets.settings import Settings
from marketing_assets.storage import clock, database
from marketing_assets.storage.keys import erasure_key, pseudonym_key
from marketing_assets.storage.repositories import erasures, exports, subjects


def ask_to_export(settings: Settings, user: str) -> uuid.UUID:
    """Ask for everything that is held about the user; `user` as the source names them.

    Raises:
        RequestError: the user is erased, or asked to be.
    """
    user_id = stored_id(pseudonym_key(settings), user)
    with _serving(settings) as connection:
        subjects.held(connection, user_id)  # an erasure waits, and finds what is written
        _refuse_erased(connection, settings, user_id)
        return exports.ask(connection, user_id, clock.now(connection))


def ask_to_erase(settings: Settings, user: str) -> uuid.UUID:
    """Ask to erase the user; `user` as the source names them.

    Raises:
        SettingsError: there is no erasure key, or another than before.
    """
    key = erasure_key(settings)
    with _serving(settings) as connection:
        return erasures.ask(connection, stored_id(pseudonym_key(settings), user), key, clock.now(connection))


def _refuse_erased(connection: Connection, settings: Settings, user_id: str) -> None:
    """Whoever is erased must not come back, were it only as somebody who asks."""
    if not erasures.exist(connection):
        return
    key = erasure_key(settings)
    erasures.check_key(connection, key)
    if erasures.tombstone(connection, keyed_hash(key, user_id)) is not None:
        raise RequestError(
            "the user is erased, or asked to be", remedy="nothing is held about them, or will be"
        )


@contextmanager
def _serving(settings: Settings) -> Iterator[Connection]:
    """A transaction on the serving database, which is made or upgraded where it is not ready."""
    urls = database.locate(settings)
    database.prepare(urls)
    engine = database.connect(urls.product)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
