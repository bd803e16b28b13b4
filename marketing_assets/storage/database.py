"""The two databases: where they are, that they exist, and that their schema is the newest.

The product's database and Dagster's stand on the same server unless told otherwise. Every command that
needs the schema calls `prepare`, which any number of processes may do at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import psycopg.sql
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from marketing_assets.errors import DatabaseError
from marketing_assets.settings import Settings
from marketing_assets.storage import embedded
from marketing_assets.storage.migrations import REVISION
from marketing_assets.storage.tables import SCHEMA

OLDEST_SERVER = 140000
_LASTING = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
_MIGRATION_LOCK = 0x6D61726B_00000001


@dataclass(frozen=True)
class DatabaseUrls:
    """SQLAlchemy URLs with their drivers: psycopg 3 for the product, psycopg2 as Dagster needs it."""

    product: str
    dagster: str


def locate(settings: Settings) -> DatabaseUrls:
    """Where the databases are; starts the embedded server where no URL is set.

    Raises:
        DatabaseError: the embedded server does not start.
    """
    if settings.database_url is not None:
        product = make_url(settings.database_url)
    else:
        host = embedded.start(settings.embedded_database)
        product = make_url(f"postgresql://postgres@/marketing?host={quote(host)}")
    if settings.dagster_database_url is not None:
        dagster = make_url(settings.dagster_database_url)
    elif settings.database_url is None:
        dagster = product.set(database="dagster")
    else:
        dagster = product.set(database=f"{product.database}_dagster")
    return DatabaseUrls(
        _shown(product.set(drivername="postgresql+psycopg")),
        _shown(dagster.set(drivername="postgresql+psycopg2")),
    )


def prepare(urls: DatabaseUrls) -> None:
    """Make both databases where they are missing and bring the product's schema to the newest revision.

    Raises:
        DatabaseError: the server is down, too old, or refuses; or the schema is newer than this code.
    """
    for url in (urls.product, urls.dagster):
        _ensure_exists(make_url(url))
    engine = connect(urls.product)
    try:
        if _revision(engine) != REVISION:
            _upgrade(engine)
    except OperationalError as error:
        raise _unreachable(engine.url, error) from error
    except DBAPIError as error:
        raise DatabaseError(
            f"the schema of {described(urls.product)} cannot be upgraded: {_one_line(error.orig or error)}",
            remedy="let the user of MARKETING_DATABASE_URL own that database and its schema marketing, and "
            "drop views of your own on its tables first",
        ) from error
    finally:
        engine.dispose()


def connect(url: str, *, pre_ping: bool = False) -> Engine:
    """An engine on the product's database. Nothing is opened before the first use.

    With `pre_ping` a kept connection is tried before it is used, and replaced where it has died meanwhile.
    """
    return create_engine(
        url,
        pool_size=2,
        max_overflow=3,
        pool_pre_ping=pre_ping,
        connect_args={"connect_timeout": 10},
        hide_parameters=True,  # errors are logged, and values may name users
    )


@contextmanager
def brief(engine: Engine) -> Iterator[Connection]:
    """A transaction that gives up where it has to wait for another one for more than five seconds."""
    with engine.begin() as connection:
        connection.execute(text("set local lock_timeout = '5s'"))
        yield connection


def described(url: str) -> str:
    """The URL without its password, for people and logs."""
    return make_url(url).render_as_string(hide_password=True)


def is_transient(error: BaseException) -> bool:
    """Whether an error of the database can pass by itself: a lost connection, a restart, a conflict.

    A refused user, a missing database, a full disk and whatever is wrong with a statement or its data stay.
    """
    cause = getattr(error, "orig", None) or error
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return isinstance(error, DBAPIError) and error.connection_invalidated
    if isinstance(cause, psycopg.errors.DiskFull | psycopg.errors.OutOfMemory):
        return False
    return not any(phrase in str(cause) for phrase in _LASTING)


@contextmanager
def errors_named(doing: str, remedy: str) -> Iterator[None]:
    """Name what the database refused without its own words, and without the error itself: they quote rows.

    Raises:
        DatabaseError: the database went away or refused.
    """
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:  # COPY goes past SQLAlchemy
        cause = getattr(error, "orig", None) or error
        code = f", SQLSTATE {cause.sqlstate}" if isinstance(cause, psycopg.Error) and cause.sqlstate else ""
        raise DatabaseError(
            f"{doing} failed: {type(cause).__name__}{code}", remedy=remedy, transient=is_transient(error)
        ) from None


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _libpq(url: URL) -> str:
    return _shown(url.set(drivername="postgresql"))


def _ensure_exists(url: URL) -> None:
    try:
        with psycopg.connect(_libpq(url), connect_timeout=10) as connection:
            version = connection.info.server_version
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error) or "role" in str(error).split("database")[0]:
            raise _unreachable(url, error) from error
        _create_database(url)
        return
    if version < OLDEST_SERVER:
        raise DatabaseError(
            f"PostgreSQL {version // 10000} at {described(_shown(url))} is too old",
            remedy="use PostgreSQL 14 or newer",
        )


def _create_database(url: URL) -> None:
    name = psycopg.sql.Identifier(url.database or "")
    try:
        with psycopg.connect(
            _libpq(url.set(database="postgres")), autocommit=True, connect_timeout=10
        ) as connection:
            connection.execute(psycopg.sql.SQL("create database {} template template0").format(name))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return
    except psycopg.Error as error:
        raise DatabaseError(
            f"the database {url.database} does not exist and cannot be made: {_one_line(error)}",
            remedy=f"create it as an administrator (create database {url.database}), or name another one in "
            "MARKETING_DATABASE_URL or MARKETING_DAGSTER_DATABASE_URL",
        ) from error


def _unreachable(url: URL, error: Exception) -> DatabaseError:
    return DatabaseError(
        f"PostgreSQL cannot be reached at {described(_shown(url))}: {_one_line(error)}",
        remedy="start it, or correct MARKETING_DATABASE_URL (unset it to use the embedded one)",
        transient=is_transient(error),
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        exists = connection.execute(
            text("select to_regclass(:name) is not null"), {"name": f"{SCHEMA}.alembic_version"}
        ).scalar()
        if not exists:
            return None
        return connection.execute(text("select version_num from marketing.alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(
            f"the schema of the database is not one this version knows: {error}",
            remedy="upgrade marketing_assets to the version that made it, or restore the database's backup",
        ) from error
