"""Tokens: which ones name a caller, and everything that a forger, a sloppy issuer or a rotation can send."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from marketing_assets.domain.identity import keyed_hash
from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings
from marketing_assets.sidecar import keyset, security
from marketing_assets.sidecar.problems import Problem
from marketing_assets.sidecar.security import Caller, Tokens
from marketing_assets_tests.sidecar.service import ERASURE_KEY, SECRET, bearer, token

PSEUDONYM_KEY = "a pseudonym key of the tests, thirty-two bytes"
LIST = "/api/marketing/campaigns"


def tokens(**more: str) -> Tokens:
    values = {"MARKETING_JWT_SECRET": SECRET, "MARKETING_ERASURE_KEY": ERASURE_KEY, **more}
    return Tokens(Settings.model_validate(values))


def caller(known: Tokens, sent: str) -> Caller:
    return asyncio.run(known.caller(f"Bearer {sent}"))


def refusal(known: Tokens, authorization: str) -> Problem:
    with pytest.raises(Problem) as refused:
        asyncio.run(known.caller(authorization))
    problem = refused.value
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"].startswith('Bearer realm="marketing", error="invalid_')
    return problem


@dataclass(frozen=True)
class In:
    """An instant so many seconds after the test has begun."""

    seconds: int


def at_present(claims: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {name: now + value.seconds if isinstance(value, In) else value for name, value in claims.items()}


def test_a_good_token_names_its_caller() -> None:
    ends = int(time.time()) + 600
    found = caller(tokens(), token("ann", "mobile", "admin", exp=ends))
    assert found == Caller(
        "ann", keyed_hash(ERASURE_KEY.encode(), "ann"), frozenset({"mobile", "admin"}), ends + 60
    )
    assert found.is_admin
    assert not caller(tokens(), token("ann", "mobile")).is_admin


def test_with_a_pseudonym_key_the_real_id_goes_no_further() -> None:
    found = caller(tokens(MARKETING_PSEUDONYM_KEY=PSEUDONYM_KEY), token("ann", "mobile"))
    assert found.user_id == keyed_hash(PSEUDONYM_KEY.encode(), "ann")
    assert found.user_hash == keyed_hash(ERASURE_KEY.encode(), found.user_id)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    assert asyncio.run(tokens().caller(f"{scheme} {token('ann', 'mobile')}")).user_id == "ann"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": In(-3600)},
        {"exp": In(-62)},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": [1]},
        {"exp": float("inf")},
        {"nbf": In(3600)},
        {"nbf": "never"},
        {"iat": In(3600)},
        {"aud": "somebody else"},
        {"aud": None},
        {"aud": []},
        {"aud": {"marketing": 1}},
        {"iss": "somebody else"},
        {"iss": None},
        {"iss": ["marketing-assets"]},
        {"sub": ""},
        {"sub": None},
        {"sub": 7},
        {"sub": ["ann"]},
        {"sub": {"id": "ann"}},
        {"sub": "u" * 201},
        {"sub": "an\0n"},
        {"sub": "\ud800"},
        {"roles": "admin"},
        {"roles": {"admin": True}},
        {"roles": None},
        {"roles": True},
        {"roles": 1},
    ],
    ids=repr,
)
def test_a_token_with_a_wrong_claim_names_nobody(claims: dict[str, Any]) -> None:
    good = jwt.decode(token("ann", "mobile"), options={"verify_signature": False})
    sent = forged({"alg": "HS256"}, SECRET.encode(), {**good, **at_present(claims)})
    problem = refusal(tokens(), f"Bearer {sent}")
    assert problem.detail == "the token is not valid, or not valid now"


@pytest.mark.parametrize("missing", ["exp", "iss", "aud", "sub"])
def test_a_token_without_one_of_the_needed_claims_names_nobody(missing: str) -> None:
    said = jwt.decode(token("ann", "mobile"), options={"verify_signature": False})
    del said[missing]
    refusal(tokens(), f"Bearer {jwt.encode(said, SECRET, algorithm='HS256')}")


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": In(-30)},
        {"nbf": In(30)},
        {"iat": In(30)},
        {"aud": ["others", "marketing"]},
        {"sub": "u" * 200},
        {"sub": "ünï — '; drop table users; --"},
    ],
    ids=repr,
)
def test_clocks_may_differ_by_a_minute_and_users_be_called_anything(claims: dict[str, Any]) -> None:
    sent = token("ann", "mobile", **at_present(claims))
    assert caller(tokens(), sent).user_id == claims.get("sub", "ann")


@pytest.mark.parametrize(
    ("roles", "kept"),
    [([], set()), (["root", "Admin", ""], set()), ([1, None, {"admin": 1}, ["admin"], "mobile"], {"mobile"})],
    ids=repr,
)
def test_roles_that_are_not_known_count_for_nothing(roles: list[object], kept: set[str]) -> None:
    assert caller(tokens(), token("ann", roles=roles)).roles == kept


def test_a_token_without_roles_is_somebody_who_may_do_nothing(client: httpx.Client) -> None:
    for sent in (token("ann"), token("ann", roles=["root"])):
        answer = client.get(LIST, headers={"Authorization": f"Bearer {sent}"})
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:marketing:problem:forbidden")


def b64(part: bytes | dict[str, object]) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, object], key: bytes, claims: dict[str, object] | None = None) -> str:
    """A token signed with HMAC by whatever key, whatever its header says."""
    said = claims or jwt.decode(token("ann", "admin"), options={"verify_signature": False})
    signed = f"{b64(header)}.{b64(said)}"
    return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None", "typ": "JWT"},
        {"alg": ""},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {"alg": "HS384"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": "hs256"},
        {},
        {"alg": "HS256", "crit": ["x"], "x": 1},
        {"alg": "HS256", "kid": 7},
        {"alg": "HS256", "kid": {"a": 1}},
    ],
    ids=repr,
)
def test_a_header_that_asks_for_something_else_names_nobody(header: dict[str, object]) -> None:
    refusal(tokens(), f"Bearer {forged(header, SECRET.encode())}")
    unsigned = forged(header, b"").rsplit(".", 1)[0]
    refusal(tokens(), f"Bearer {unsigned}.")


def test_another_secret_or_a_changed_token_names_nobody() -> None:
    good = token("ann", "mobile")
    header, claims, signature = good.split(".")
    refusal(tokens(), f"Bearer {forged({'alg': 'HS256'}, SECRET.encode() + b'.')}")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    refusal(tokens(), f"Bearer {header}.{b64({**said, 'roles': ['admin']})}.{signature}")
    refusal(tokens(), f"Bearer {header}.{claims}.{b64(b'0' * 32)}")
    assert caller(tokens(), forged({"alg": "HS256"}, SECRET.encode())).roles == {"admin"}


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer .",
        "Bearer ..",
        "Bearer ...",
        "Bearer a.b.c",
        "Bearer  " + token("ann", "mobile"),
        token("ann", "mobile"),
        "Basic YW5uOmFubg==",
        "Bearer null",
        "Bearer \xff\xfe\x00.\x00.\x00",
        "Bearer " + "A" * 100_000,
        "Bearer " + b64(b"[" * 3000) + ".e30.",
        "Bearer " + b64(b'{"a":' * 500) + ".e30.",
        "Bearer " + b64(b"[]") + ".e30.x",
        "Bearer " + b64(b'"x"') + ".e30.x",
        "Bearer " + b64(b"\xff") + ".e30.x",
    ],
    ids=lambda sent: sent[:24],
)
def test_garbage_names_nobody(authorization: str) -> None:
    refusal(tokens(), authorization)


def test_claims_that_are_no_object_name_nobody() -> None:
    for claims in (b"[]", b"null", b'"ann"', b"[" * 3000, b"{" * 3000, b"1e999", b"\xff"):
        signed = f"{b64({'alg': 'HS256'})}.{b64(claims)}"
        signature = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
        refusal(tokens(), f"Bearer {signed}.{b64(signature)}")


def test_which_fault_a_token_has_is_not_said(client: httpx.Client) -> None:
    faults = [token("ann", "mobile", seconds=-3600), token("ann", "mobile", aud="x"), "a.b.c"]
    answers = [client.get(LIST, headers={"Authorization": f"Bearer {sent}"}) for sent in faults]
    bodies = [{**answer.json(), "instance": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert bodies[0] == bodies[1] == bodies[2]
    assert "ann" not in answers[0].text


def test_a_call_without_a_token_says_how_to_send_one(client: httpx.Client) -> None:
    answer = client.get(LIST)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="marketing"')
    assert answer.json()["detail"] == "send a header Authorization: Bearer <token>"


def test_a_token_that_was_good_is_refused_when_its_time_is_over() -> None:
    known, sent = tokens(), token("ann", "mobile", exp=int(time.time()) - 58)
    assert caller(known, sent) is caller(known, sent)
    time.sleep(2.1)
    refusal(known, f"Bearer {sent}")


def test_only_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_REMEMBERED", 8)
    known = tokens()
    sent = [token(f"user-{number}", "mobile") for number in range(30)]
    for _ in range(2):
        assert [caller(known, each).user_id for each in sent] == [f"user-{number}" for number in range(30)]
    assert len(known._known) <= 8


def test_the_secret_of_hs256_has_to_be_given_in_production() -> None:
    with pytest.raises(SettingsError, match="MARKETING_JWT_SECRET is not set"):
        Tokens(Settings.model_validate({"MARKETING_DATABASE_URL": "postgresql://127.0.0.1:1/marketing"}))


@pytest.mark.parametrize(
    ("algorithms", "named"), [("RS256", "RS256"), ("HS256, ES256,EdDSA", "ES256, EdDSA")]
)
def test_an_algorithm_without_keys_does_not_start(algorithms: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"allows {named}, and MARKETING_JWT_KEYS is not set"):
        Tokens(Settings.model_validate({"MARKETING_HOME": tmp_path, "MARKETING_JWT_ALGORITHMS": algorithms}))


@pytest.mark.parametrize("name", ["jwt_secret", "erasure_key"])
def test_a_key_file_that_was_cut_off_is_no_key(name: str, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / name).write_bytes(b"")
    with pytest.raises(SettingsError, match=rf"the key in .*/keys/{name} is shorter than 32 bytes"):
        Tokens(Settings.model_validate({"MARKETING_HOME": tmp_path}))


# Key sets


class Signer:
    """A login service with one key: what it publishes, and tokens of it."""

    def __init__(self, algorithm: str, kid: str | None) -> None:
        self.algorithm, self.kid = algorithm, kid
        self.private: Any
        if algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = OKPAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        elif algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk: dict[str, object] = {**public, "use": "sig", **({"kid": kid} if kid else {})}

    def token(self, kid: str | None = None, **claims: Any) -> str:
        said = jwt.decode(token("ann", "mobile", **claims), options={"verify_signature": False})
        named = kid or self.kid
        headers = None if named is None else {"kid": named}
        return jwt.encode(said, self.private, algorithm=self.algorithm, headers=headers)


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return {name: Signer(name, f"key of {name}") for name in ("EdDSA", "ES256", "RS256")}


class Address:
    """A key set behind an http address on this machine, which counts who asks."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
        self.content, self.status, self.asked = b"", 200, 0

    def publish(self, *signers: Signer) -> None:
        self.content = key_set(*signers)


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [each.jwk for each in signers]}).encode()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(made.content)))
            self.end_headers()
            self.wfile.write(made.content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Address(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


class Clock:
    """The time by which key sets grow old."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(keyset, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
@pytest.mark.parametrize("place", ["file", "file address", "http"])
def test_keys_of_a_set_sign_tokens(
    algorithm: str, place: str, signers: dict[str, Signer], tmp_path: Path, address: Address
) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(*signers.values()))
    address.publish(*signers.values())
    where = {"file": str(file), "file address": f"file://{file}", "http": address.url}[place]
    known = tokens(MARKETING_JWT_KEYS=where)
    assert caller(known, signers[algorithm].token()).user_id == "ann"
    refusal(known, f"Bearer {Signer(algorithm, f'key of {algorithm}').token()}")
    refusal(known, f"Bearer {signers[algorithm].token(exp=int(time.time()) - 3600)}")
    refusal(known, f"Bearer {token('ann', 'mobile')}")


def test_each_key_is_used_with_its_own_algorithm_alone(signers: dict[str, Signer], tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(*signers.values()))
    both = {"MARKETING_JWT_ALGORITHMS": "EdDSA,ES256,RS256,HS256"}
    for more in ({}, both):
        known = tokens(MARKETING_JWT_KEYS=str(file), **more)
        for name, other in (("EdDSA", "RS256"), ("RS256", "ES256"), ("ES256", "EdDSA")):
            refusal(known, f"Bearer {signers[name].token(kid=signers[other].kid)}")


def test_a_public_key_is_no_secret(signers: dict[str, Signer], tmp_path: Path) -> None:
    """HS256 with the bytes of a public key, which anybody knows."""
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(*signers.values()))
    known = tokens(MARKETING_JWT_KEYS=str(file))
    both = tokens(MARKETING_JWT_KEYS=str(file), MARKETING_JWT_ALGORITHMS="RS256,HS256")
    public = signers["RS256"].private.public_key()
    shapes = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(signers["RS256"].jwk).encode(),
        str(signers["RS256"].jwk["n"]).encode(),
        b"",
    ]
    for key in shapes:
        for algorithm in ("HS256", "RS256"):
            sent = forged({"alg": algorithm, "kid": signers["RS256"].kid}, key)
            refusal(known, f"Bearer {sent}")
            refusal(both, f"Bearer {sent}")
    assert caller(both, forged({"alg": "HS256"}, SECRET.encode())).user_id == "ann"


def test_a_key_without_an_id_serves_where_it_is_the_only_one(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    nameless = Signer("ES256", None)
    file.write_bytes(key_set(nameless))
    assert caller(tokens(MARKETING_JWT_KEYS=str(file)), nameless.token()).user_id == "ann"
    named = Signer("ES256", "named")
    file.write_bytes(key_set(named, Signer("ES256", "other")))
    named.kid = None
    refusal(tokens(MARKETING_JWT_KEYS=str(file)), f"Bearer {named.token()}")


def test_keys_rotate_without_a_restart(address: Address, clock: Clock) -> None:
    old, new = Signer("EdDSA", "old"), Signer("EdDSA", "new")
    address.publish(old)
    known = tokens(MARKETING_JWT_KEYS=address.url)
    assert caller(known, old.token()).user_id == "ann"
    address.publish(old, new)
    clock.now += 11
    assert caller(known, new.token()).user_id == "ann"
    assert caller(known, old.token(sub="bob")).user_id == "bob"
    address.publish(new)
    clock.now += 601
    refusal(known, f"Bearer {old.token(sub='eve')}")
    assert address.asked == 3


def test_unknown_keys_make_it_ask_once_in_ten_seconds_at_most(address: Address, clock: Clock) -> None:
    good, stranger = Signer("EdDSA", "good"), Signer("EdDSA", "good")
    address.publish(good)
    known = tokens(MARKETING_JWT_KEYS=address.url)

    sent = [f"Bearer {stranger.token(kid=f'k{number}', sub=f's{number}')}" for number in range(20)]

    async def flood() -> int:
        answers = await asyncio.gather(*(known.caller(each) for each in sent), return_exceptions=True)
        assert [getattr(answer, "status", None) for answer in answers] == [401] * 20
        return address.asked

    async def floods() -> None:
        assert await flood() == 1
        for asked in (2, 3):
            clock.now += 10.5
            assert await flood() == asked
            assert await flood() == asked
        assert (await known.caller(f"Bearer {good.token()}")).user_id == "ann"
        assert address.asked == 3

    asyncio.run(floods())


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b'{"keys": []}', b"[]", b"null", b'{"keys": [{"kty": "oct"}]}']
)
def test_a_set_that_breaks_leaves_the_keys_of_before(content: bytes, address: Address, clock: Clock) -> None:
    good = Signer("EdDSA", "good")
    address.publish(good)
    known = tokens(MARKETING_JWT_KEYS=address.url)
    address.content = content
    for status in (200, 500):
        address.status = status
        clock.now += 601
        assert caller(known, good.token(sub=f"user {status}")).user_id == f"user {status}"
    assert address.asked == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"<html>",
        b"[]",
        b"null",
        b'"keys"',
        b"{}",
        b'{"keys": []}',
        b'{"keys": {}}',
        b'{"keys": 7}',
        b'{"keys": [7, null, "x"]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}]}',
        b'{"keys": [{"kty": "RSA", "n": 1, "e": [], "kid": "a"}]}',
        b"[" * 100_000,
    ],
    ids=lambda content: str(content[:24]),
)
def test_it_does_not_start_with_a_set_that_is_none(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="the key set of MARKETING_JWT_KEYS cannot be read"):
        tokens(MARKETING_JWT_KEYS=str(file))


def test_it_does_not_start_where_no_set_is(tmp_path: Path) -> None:
    for place in (str(tmp_path / "none.json"), str(tmp_path), "http://127.0.0.1:1/jwks.json", "http://["):
        with pytest.raises(SettingsError, match="cannot be read"):
            tokens(MARKETING_JWT_KEYS=place)


def test_keys_that_nobody_can_use_do_not_spoil_a_set(signers: dict[str, Signer], tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    strange: list[object] = [7, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-999"}, {"kid": "x"}]
    file.write_text(json.dumps({"keys": [*strange, signers["ES256"].jwk]}))
    assert caller(tokens(MARKETING_JWT_KEYS=str(file)), signers["ES256"].token()).user_id == "ann"


def test_a_token_of_100_kb_is_too_large_a_head(client: httpx.Client) -> None:
    answer = client.get(LIST, headers={"Authorization": "Bearer " + "A" * 100_000})
    assert answer.status_code == 431
    assert client.get(LIST, headers=bearer("ann")).status_code == 200
