"""Names for users: keyed hashes, by Python and by SQL alike."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.identity import fingerprint, keyed_hash, pads, stored_id


def test_a_keyed_hash_is_the_published_one() -> None:
    # RFC 4231, test case 2.
    assert keyed_hash(b"Jefe", "what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_an_id_is_stored_as_it_is_or_by_its_hash(key: bytes | None) -> None:
    assert stored_id(key, "Zoë 🛒") == ("Zoë 🛒" if key is None else keyed_hash(key, "Zoë 🛒"))


@given(st.binary(min_size=1, max_size=200), st.text(max_size=200))
def test_inner_and_outer_key_and_two_plain_hashes_make_the_keyed_one(key: bytes, user_id: str) -> None:
    inner, outer = (bytes.fromhex(each) for each in pads(key))
    once = hashlib.sha256(inner + user_id.encode()).digest()
    assert hashlib.sha256(outer + once).hexdigest() == hmac.new(key, user_id.encode(), "sha256").hexdigest()


def test_a_fingerprint_tells_keys_apart_and_not_what_they_are() -> None:
    assert fingerprint(b"a" * 32) == "2d81f778cb9a9c0a"
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
