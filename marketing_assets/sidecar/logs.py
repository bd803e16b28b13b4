"""The sidecar's log: one JSON object a line, about requests and never about people.

No token, user id, address, body or query is ever written; the request's id leads from the app's report to
the line.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

NAME = "marketing_assets.sidecar"
_OWN = ("request_id", "method", "route", "status", "milliseconds", "role")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; of an error its class and place, not its words, which can quote rows."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _OWN if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-8:]
            line["place"] = [f"{frame.name}:{frame.lineno}" for frame in frames]
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Write everything that this process logs as JSON lines to the standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(NAME).setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
