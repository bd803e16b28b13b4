"""Names for users that do not name them: keyed hashes of their ids.

With a pseudonym key every id is replaced where it comes in; a subject key, one a user, makes the name by
which logs and requests know a user; the erasure key makes the mark by which an erased user is kept out.
"""

import hashlib
import hmac


def keyed_hash(key: bytes, user_id: str) -> str:
    """HMAC-SHA-256 of the id's UTF-8 bytes, 64 lower-case hex digits (RFC 2104)."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()


def fingerprint(key: bytes) -> str:
    """Tells one key from another without telling the key: 16 hex digits."""
    return keyed_hash(key, "fingerprint of this key")[:16]
