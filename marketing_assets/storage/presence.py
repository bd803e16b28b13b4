"""Being seen: a database session in a run's name, for as long as its process lives.

The session of the writer lock does not tell that: a run that computes for minutes notices only at its next
write that a restart of the database ended it. Nothing is read or written here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

_LOOK_SECONDS = 2.0
_END_SECONDS = 5.0


@contextmanager
def seen(url: str, holder: str) -> Iterator[None]:
    """Keep a session named `holder` while the block runs, anew soon after the database comes back."""
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"application_name": holder[:63], "connect_timeout": 10, "tcp_user_timeout": 10_000},
    )
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(engine, over), name="presence", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(_END_SECONDS)


def _keep(engine: Engine, over: threading.Event) -> None:
    while not over.is_set():
        with suppress(SQLAlchemyError), engine.connect() as session:
            while not over.wait(_LOOK_SECONDS):
                session.execute(text("select 1"))
        over.wait(_LOOK_SECONDS)
