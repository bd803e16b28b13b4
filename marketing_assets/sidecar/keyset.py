"""The public keys that tokens are signed with: a JWK set from a file or an address, as it changes.

A key is known by its `kid`. An unknown one makes the set be read again, at most every ten seconds, so that
neither a rotation needs a restart nor a forged token makes the sidecar ask for keys all the time.
"""

import asyncio
import json
import time
import urllib.request
from pathlib import Path

from jwt import PyJWK, PyJWKSet

from marketing_assets.errors import SettingsError

_PAUSE_SECONDS = 10.0
_FRESH_SECONDS = 600.0
_FETCH_SECONDS = 5.0
_LARGEST_BYTES = 1_000_000
_USABLE = {"EdDSA", "ES256", "RS256"}


class KeySet:
    """Keys by `kid`; a key without one is found where it is the only one."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._keys: dict[str | None, PyJWK] = {}
        self._read_at = -_FRESH_SECONDS
        self._reading = asyncio.Lock()

    async def key(self, kid: str | None) -> PyJWK | None:
        """The key of that id, from the newest set that can be had; None where there is none."""
        age = time.monotonic() - self._read_at
        if age > _FRESH_SECONDS or (kid not in self._keys and age > _PAUSE_SECONDS):
            async with self._reading:
                if time.monotonic() - self._read_at >= min(age, _PAUSE_SECONDS):
                    await asyncio.to_thread(self._read_again)
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def read(self) -> None:
        """Read the set now.

        Raises:
            SettingsError: it cannot be read, or has no usable key.
        """
        try:
            self._keys = _parsed(_content(self._place))
        except Exception as error:  # whatever a place or a strange set makes its readers raise
            raise SettingsError(
                f"the key set of MARKETING_JWT_KEYS cannot be read: {type(error).__name__}",
                remedy="let it be a JWK set with keys for EdDSA, ES256 or RS256, at an address that this "
                "machine reaches or in a file that it can read",
            ) from error
        self._read_at = time.monotonic()

    def _read_again(self) -> None:
        try:
            self.read()
        except SettingsError:  # the keys of before still count
            self._read_at = time.monotonic() if self._keys else self._read_at


def _content(place: str) -> bytes:
    if not place.startswith(("https://", "http://")):
        return Path(place.removeprefix("file://")).read_bytes()
    with urllib.request.urlopen(place, timeout=_FETCH_SECONDS) as answer:
        content: bytes = answer.read(_LARGEST_BYTES)
    return content


def _parsed(content: bytes) -> dict[str | None, PyJWK]:
    keys = PyJWKSet.from_dict(json.loads(content)).keys
    usable = {key.key_id: key for key in keys if key.algorithm_name in _USABLE}
    if not usable:
        raise ValueError("no usable key")
    return usable
