"""The directory of one size: where its lake and database are, the settings it is run with, what its data is.

What generates the data is fingerprinted, so that another generator makes other data and the same one is
never run twice. Nothing is measured here.
"""

import hashlib
import inspect
import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from marketing_assets.domain.days import days_between
from marketing_assets.engine.base import sql
from marketing_assets.engine.duckdb import DuckDBEngine
from marketing_assets.sources import simulated
from marketing_assets.storage import embedded
from marketing_assets.storage.datasets import TRANSACTIONS
from marketing_assets.storage.lake import Lake

FIRST_NIGHT = date(2025, 12, 29)
"""The night on which everyone is new; a day that is over on every machine, so that data is the same."""

STEADY_NIGHTS = [FIRST_NIGHT + timedelta(days=offset) for offset in (1, 2, 3)]
WINDOW_DAYS = 90
INGESTED = days_between(FIRST_NIGHT - timedelta(days=WINDOW_DAYS), FIRST_NIGHT - timedelta(days=1))
"""The days that are there before the first night: a whole window, which features are also measured on."""

SEED = 1
_ROOT = Path(__file__).parents[1]
_DATA = "data.json"
_SAYS_OF_IT = {"PATTERN_SHARES", "EFFECTS"}  # of the rows, or of nights after the days that are ingested


@dataclass(frozen=True)
class Ingest:
    """What it took to ingest the days before the first night: rows kept, seconds of the step."""

    days: int
    rows: int
    seconds: float

    def __add__(self, other: "Ingest") -> "Ingest":
        return Ingest(self.days + other.days, self.rows + other.rows, self.seconds + other.seconds)


@dataclass(frozen=True)
class Home:
    """The place of one size."""

    users: int
    directory: Path

    @property
    def lake(self) -> Lake:
        """Its lake; only the processes that run its nights write it."""
        return Lake(self.directory / "lake")

    @property
    def server(self) -> Path:
        """Data directory of its embedded PostgreSQL."""
        return self.directory / "postgres"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that works on it: the product's defaults, whatever is set here.

        Run it in `directory`, so that no `.env` is read either.
        """
        own = ("MARKETING_", "DAGSTER_", "CAMPAIGN_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return inherited | {
            "PYTHONPATH": str(_ROOT),
            "MARKETING_HOME": str(self.directory),
            "MARKETING_SOURCE": "simulated",
            "MARKETING_SIMULATED_USERS": str(self.users),
            "MARKETING_SIMULATED_SEED": str(SEED),
            "MARKETING_START_DATE": INGESTED[0].isoformat(),
            "MARKETING_TIMEZONE": "UTC",
            "MARKETING_WINDOW_DAYS": str(WINDOW_DAYS),
        }

    @property
    def missing(self) -> list[date]:
        """Days before the first night that are not ingested yet."""
        have = set(self.lake.days(TRANSACTIONS))
        return [day for day in INGESTED if day not in have]

    @property
    def ingest(self) -> Ingest:
        """What ingesting took, in the runs that came to their end."""
        made = json.loads((self.directory / _DATA).read_text(encoding="utf-8"))
        return sum(TypeAdapter(list[Ingest]).validate_python(made["ingests"]), Ingest(0, 0, 0.0))

    def add_ingest(self, ingest: Ingest) -> None:
        """Remember what a run of ingest took."""
        made = json.loads((self.directory / _DATA).read_text(encoding="utf-8"))
        self._write(made["fingerprint"], [*made["ingests"], asdict(ingest)])

    def stop_server(self) -> None:
        """Stop its PostgreSQL, where it runs."""
        embedded.stop(self.server)

    def refuse_other_data(self) -> None:
        """Remove everything that another generator has made, and make the directory."""
        expected = fingerprint()
        file = self.directory / _DATA
        if file.exists() and json.loads(file.read_text(encoding="utf-8"))["fingerprint"] == expected:
            return
        self.stop_server()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._write(expected, [])

    def _write(self, found: str, ingests: list[dict[str, object]]) -> None:
        text = json.dumps({"fingerprint": found, "ingests": ingests}, indent=1)
        (self.directory / _DATA).write_text(text + "\n", encoding="utf-8")


def home_of(users: int, directory: Path) -> Home:
    """The home of a size below `directory`, empty or with the data of today's generator."""
    home = Home(users, (directory / str(users)).resolve())
    home.refuse_other_data()
    return home


def fingerprint() -> str:
    """Digest of all that decides which rows the lake gets and how they lie in its files."""
    constants = {
        name: repr(value)
        for name, value in vars(simulated).items()
        if name.isupper() and name not in _SAYS_OF_IT
    }
    texts = [
        *(_without_comments(sql(name)) for name in ("simulated_users", "simulated_transactions")),
        repr(sorted(constants.items())),
        repr(TRANSACTIONS),
        inspect.getsource(DuckDBEngine.write_parquet),
        repr((SEED, INGESTED)),
    ]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _without_comments(statement: str) -> str:
    return " ".join(line.split("--")[0].strip() for line in statement.splitlines()).strip()
