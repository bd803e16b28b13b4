"""How many calls one caller may make: counted in windows of the clock, in memory or in a Redis.

Several workers need the Redis, or each counts for itself. A Redis that is away limits nobody: who waits for
it would be the app's users.
"""

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings

if TYPE_CHECKING:
    from limits.aio.storage import Storage

_WORDS = {"second": 1, "minute": 60, "hour": 3600}


class Used(NamedTuple):
    """Where a caller stands in the present window: calls left and whole seconds until it ends."""

    allowed: bool
    left: int
    resets_in: int


class Limiter:
    """Counts calls by caller."""

    def __init__(self, settings: Settings) -> None:
        """Make the counter.

        Raises:
            SettingsError: the client of the Redis is not installed.
        """
        calls, _, word = settings.rate_limit.partition("/")
        self.calls, self.seconds = int(calls), _WORDS[word]
        self.policy = f'"caller";q={self.calls};w={self.seconds}'
        self._window = -1
        self._counts: Counter[str] = Counter()
        self._storage = _storage(settings.rate_limit_storage)

    async def count(self, caller: str) -> Used:
        """Count one call."""
        now = time.time()
        window = int(now) // self.seconds
        if self._storage is None:
            calls = self._counted(caller, window)
        else:
            try:
                calls = await self._storage.incr(f"marketing/{window}/{caller}", self.seconds + 1)
            except Exception:  # whatever its client raises
                calls = 1
        resets_in = max(1, int((window + 1) * self.seconds - now + 0.999))
        return Used(calls <= self.calls, max(0, self.calls - calls), resets_in)

    def _counted(self, caller: str, window: int) -> int:
        """All windows end together, so that what was counted goes at once and memory stays bounded."""
        if window != self._window:
            self._window, self._counts = window, Counter()
        self._counts[caller] += 1
        return self._counts[caller]


def _storage(url: str) -> "Storage | None":
    if url == "memory":
        return None
    from limits.aio.storage import Storage
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        storage = storage_from_string(
            f"async+{url}", implementation="redispy", socket_timeout=0.2, socket_connect_timeout=0.2
        )
    except ConfigurationError as error:
        raise SettingsError(
            "MARKETING_RATE_LIMIT_STORAGE is a Redis, and its client is not installed",
            remedy="pip install 'redis>=5', or count in memory where one worker serves all",
        ) from error
    assert isinstance(storage, Storage)
    return storage
