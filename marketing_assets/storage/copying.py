"""COPY between files and tables, on a connection of SQLAlchemy, in its transaction."""

from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString

from sqlalchemy import Connection

_CHUNK = 1 << 20


def copy_file(connection: Connection, target: str, file: Path) -> None:
    """Append the rows of a CSV file to `target`, whose name stands in the statement as it is.

    Raises:
        psycopg.Error: the database refused a row or went away; SQLAlchemy does not see it.
    """
    cursor = connection.connection.cursor()
    statement = "copy " + target + " from stdin (format csv, encoding 'utf8')"
    with cursor.copy(statement) as copy, file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            copy.write(chunk)


def copy_query(
    connection: Connection, query: LiteralString, parameters: Sequence[object], file: Path
) -> None:
    """Write the rows of `query` to a CSV file that begins with their names.

    Raises:
        psycopg.Error: the database refused or went away; SQLAlchemy does not see it.
    """
    cursor = connection.connection.cursor()
    statement = "copy (" + query + ") to stdout (format csv, header, encoding 'utf8')"
    with cursor.copy(statement, parameters) as copy, file.open("wb") as stream:
        for chunk in copy:
            stream.write(chunk)
