"""What a lake was made with: recorded in it at first use, and anything else is refused.

The record is one small JSON file at the lake's root, made once and never changed.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Self

from marketing_assets.domain.identity import fingerprint
from marketing_assets.errors import LakeError
from marketing_assets.settings import Settings
from marketing_assets.storage.keys import pseudonym_key

FILE = "lake.json"
_FORMAT = 1
_DAYS_BEFORE = 400


@dataclass(frozen=True)
class LakeRecord:
    """Source, replay shift in days (null = not replayed), zone, currency, first partition, population, key.

    Users and seed of the simulated population; null where the source is another. The fingerprint of the key
    that user ids were replaced with; null where they stand as the source has them.
    """

    source: str
    replay_shift: int | None
    timezone: str
    currency: str
    start_date: date
    simulated_users: int | None = None
    simulated_seed: int | None = None
    pseudonym_key: str | None = None
    format: int = _FORMAT

    @classmethod
    def proposed(cls, settings: Settings, today: date) -> Self:
        """The record that a lake made today with these settings gets."""
        from marketing_assets.sources.complete_journey import replay_shift

        replayed = settings.source == "complete_journey" and settings.source_replay
        users, seed = _population(settings)
        return cls(
            source=settings.source,
            replay_shift=replay_shift(today - timedelta(days=1)) if replayed else None,
            timezone=settings.timezone,
            currency=settings.currency,
            start_date=settings.start_date or today - timedelta(days=_DAYS_BEFORE),
            simulated_users=users,
            simulated_seed=seed,
            pseudonym_key=_fingerprint(settings),
        )


def read_record(root: Path) -> LakeRecord | None:
    """The record of the lake at `root`, or None where there is no lake yet.

    Raises:
        LakeError: the record is not readable or was written by a newer version.
    """
    try:
        raw = json.loads((root / FILE).read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT:
            raise LakeError(
                f"the lake at {root} has format {raw['format']}, this version knows {_FORMAT}",
                remedy="upgrade marketing_assets, or set MARKETING_LAKE to another directory",
            )
        return LakeRecord(**{**raw, "start_date": date.fromisoformat(raw["start_date"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LakeError(
            f"{root / FILE} cannot be read: {error}",
            remedy="restore it from a backup of the lake, or set MARKETING_LAKE to another directory",
        ) from error


def ensure_record(root: Path, settings: Settings, today: date) -> LakeRecord:
    """The lake's record, made now where there is none; several processes at once agree on one.

    Raises:
        LakeError: the lake was made with other settings, or cannot be written.
    """
    record = read_record(root)
    if record is None:
        record = _create(root, LakeRecord.proposed(settings, today))
    _refuse_other(root, record, settings)
    return record


def _create(root: Path, record: LakeRecord) -> LakeRecord:
    temporary = root / f".{FILE}.{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(asdict(record), indent=1, default=str) + "\n", encoding="utf-8")
            os.link(temporary, root / FILE)
        except FileExistsError:
            return read_record(root) or record
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LakeError(
            f"the lake cannot be made at {root}: {error.strerror or error}",
            remedy="make the directory writable, or set MARKETING_LAKE to another one",
        ) from error
    return record


def _refuse_other(root: Path, record: LakeRecord, settings: Settings) -> None:
    replayed = settings.source == "complete_journey" and settings.source_replay
    users, seed = _population(settings)
    wanted = {
        "MARKETING_SOURCE": (record.source, settings.source),
        "MARKETING_SOURCE_REPLAY": (_word(record.replay_shift is not None), _word(replayed)),
        "MARKETING_TIMEZONE": (record.timezone, settings.timezone),
        "MARKETING_CURRENCY": (record.currency, settings.currency),
        "MARKETING_SIMULATED_USERS": (record.simulated_users, users),
        "MARKETING_SIMULATED_SEED": (record.simulated_seed, seed),
        "MARKETING_START_DATE": (record.start_date, settings.start_date or record.start_date),
    }
    _refuse_other_key(root, record, settings)
    for variable, (made_with, asked) in wanted.items():
        if made_with != asked:
            raise LakeError(
                f"the lake at {root} was made with {variable}={made_with}, not {asked}",
                remedy=f"set {variable}={made_with}, or set MARKETING_LAKE to another directory",
            )


def _refuse_other_key(root: Path, record: LakeRecord, settings: Settings) -> None:
    asked = _fingerprint(settings)
    if record.pseudonym_key == asked:
        return
    if record.pseudonym_key is None:
        made, remedy = "without MARKETING_PSEUDONYM_KEY", "unset MARKETING_PSEUDONYM_KEY"
    else:
        made = f"with the MARKETING_PSEUDONYM_KEY of fingerprint {record.pseudonym_key}, not {asked}"
        remedy = "set MARKETING_PSEUDONYM_KEY to the key of that fingerprint"
    raise LakeError(
        f"the lake at {root} was made {made}",
        remedy=f"{remedy}, or set MARKETING_LAKE and MARKETING_DATABASE_URL to another lake and database",
    )


def _fingerprint(settings: Settings) -> str | None:
    key = pseudonym_key(settings)
    return None if key is None else fingerprint(key)


def _population(settings: Settings) -> tuple[int, int] | tuple[None, None]:
    if settings.source != "simulated":
        return None, None
    return settings.simulated_users, settings.simulated_seed


def _word(value: bool) -> str:
    return "true" if value else "false"
