"""The segments that the app reads: a view over two slots; one is live, the other takes the next night.

Filling the free slot and pointing the view at it are one transaction, and which slot is live is a row like
any other: each reader sees the slot of its snapshot, whole. (A table that is swapped in by rename looks
empty to a transaction that began before.) The free slot is emptied first, in a transaction of its own,
because readers of the view hold a lock on it too and would wait for the rest of the night; that lock is
taken at once or not at all, so that no reader ever stands behind it.
"""

import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, delete, text
from sqlalchemy.exc import OperationalError
from sqlglot import exp

from marketing_assets.engine.base import Engine
from marketing_assets.storage.copying import copy_file
from marketing_assets.storage.tables import user_segments_a, user_segments_b

_TRIES = 20
_PAUSE_SECONDS = 0.1
_SLOTS = {"a": user_segments_a, "b": user_segments_b}
_LOCK = {
    "a": text("lock table marketing.user_segments_a in access exclusive mode nowait"),
    "b": text("lock table marketing.user_segments_b in access exclusive mode nowait"),
}
_EMPTY = {
    "a": text("truncate marketing.user_segments_a"),
    "b": text("truncate marketing.user_segments_b"),
}
_ANALYZE = {"a": text("analyze marketing.user_segments_a"), "b": text("analyze marketing.user_segments_b")}
_LIVE = text("select slot from marketing.live_segments")
_SET_LIVE = text(
    "insert into marketing.live_segments (slot, as_of) values (:slot, :day)"
    " on conflict (only_row) do update set slot = excluded.slot, as_of = excluded.as_of"
)


def export_segments(
    engine: Engine, features: str, patterns: str, ranked: Sequence[str], day: date, file: Path
) -> int:
    """Write one row a user, in the columns of `user_segments` and sorted by user; returns the users.

    Args:
        engine: reads the relations.
        features: relation with the columns of `USER_FEATURES`.
        patterns: relation with the columns of `USER_PATTERNS`.
        ranked: names of the patterns, best rank first: the order within a user's array.
        day: the night, for `as_of`.
        file: is written.
    """
    name = exp.column("pattern", "p")
    listed = [
        exp.Max(
            this=exp.Case()
            .when(name.eq(exp.Literal.string(pattern)), exp.Literal.string(f",{pattern}"))
            .else_(exp.Literal.string(""))
        )
        for pattern in ranked
    ]
    array = exp.func(
        "concat",
        exp.Literal.string("{"),
        exp.func("substr", exp.func("concat", *listed), exp.Literal.number(2)),
        exp.Literal.string("}"),
    )
    primary = exp.Max(this=exp.Case().when(exp.column("is_primary", "p"), name))
    of_user = (
        exp.select("p.user_id", exp.alias_(primary, "primary_pattern"), exp.alias_(array, "patterns"))
        .from_(exp.to_table(patterns).as_("p"))
        .group_by("p.user_id")
    )
    rows = (
        exp.select(
            "f.user_id", "s.primary_pattern", "s.patterns", "f.spend", "f.transactions", "f.top_location"
        )
        .select("f.top_category", exp.alias_(exp.Literal.string(day.isoformat()), "as_of"))
        .select("f.average_order")
        .from_(exp.to_table(features).as_("f"))
        .join(of_user.subquery("s"), on="s.user_id = f.user_id")
        .order_by("f.user_id")
    )
    return engine.write_csv(rows, file)


def empty_free_slot(connection: Connection) -> None:
    """Empty the slot that no reader is shown, in a transaction of its own.

    Where a reader holds it for two seconds (it reads the view and takes its time), it is left as it is for
    `replace_segments`, which then deletes row by row: slower, but nobody waits.
    """
    for _ in range(_TRIES):
        try:
            with connection.begin():
                slot = _free(connection)
                connection.execute(_LOCK[slot])
                connection.execute(_EMPTY[slot])
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def replace_segments(connection: Connection, file: Path, day: date) -> None:
    """Fill the free slot from `file` and make it the live one, in the caller's transaction."""
    slot = _free(connection)
    connection.execute(delete(_SLOTS[slot]))
    copy_file(connection, _SLOTS[slot].fullname, file)
    connection.execute(_ANALYZE[slot])
    connection.execute(_SET_LIVE, {"slot": slot, "day": day})


def _free(connection: Connection) -> str:
    return "b" if connection.execute(_LIVE).scalar() == "a" else "a"
