"""COPY of a file into a table, on a connection of SQLAlchemy, in its transaction."""

from pathlib import Path

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
