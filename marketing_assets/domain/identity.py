"""Names for users that do not name them: keyed hashes of their ids.

With a pseudonym key every id is replaced where it comes in; a subject key, one a user, makes the name by
which logs and requests know a user; the erasure key makes the mark by which an erased user is kept out.
"""

import hashlib
import hmac

_BLOCK = 64
"""Bytes that SHA-256 takes in at a time."""


def keyed_hash(key: bytes, user_id: str) -> str:
    """HMAC-SHA-256 of the id's UTF-8 bytes, 64 lower-case hex digits (RFC 2104)."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def stored_id(key: bytes | None, user_id: str) -> str:
    """The id by which both stores know the user: with a pseudonym key, the keyed hash of the real one."""
    return user_id if key is None else keyed_hash(key, user_id)


def pads(key: bytes) -> tuple[str, str]:
    """The inner and the outer key of HMAC-SHA-256 (RFC 2104), in hex, for SQL that knows only SHA-256."""
    block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block).hex(), bytes(byte ^ 0x5C for byte in block).hex()


def fingerprint(key: bytes) -> str:
    """Tells one key from another without telling the key: 16 hex digits."""
    return keyed_hash(key, "fingerprint of this key")[:16]
