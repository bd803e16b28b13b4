"""Answers that are kept for a while and then forgotten: exports of users, and replies to calls sent twice."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete

from marketing_assets.storage.tables import exports, idempotency_keys


@dataclass(frozen=True)
class Forgotten:
    """How many of each went."""

    exports: int
    idempotency_keys: int


def forget(connection: Connection, before: datetime) -> Forgotten:
    """Forget, in the caller's transaction, what was answered before that instant."""
    old_exports = delete(exports).where(exports.c.made_at < before)
    old_keys = delete(idempotency_keys).where(idempotency_keys.c.created_at < before)
    return Forgotten(connection.execute(old_exports).rowcount, connection.execute(old_keys).rowcount)
