"""Who calls: bearer tokens (JWT), verified once and remembered, and the roles that a call asks for.

The user is the token's `sub`, never a parameter; with a pseudonym key it is replaced right here. Which
algorithms count is a list of the settings, and each key is used with its own algorithm alone.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import jwt
from fastapi import Depends, Request
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from marketing_assets.domain.identity import keyed_hash, stored_id
from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings
from marketing_assets.sidecar.keyset import KeySet
from marketing_assets.sidecar.problems import Problem
from marketing_assets.storage import keys

Role = Literal["mobile", "admin"]
ROLES: tuple[Role, ...] = ("mobile", "admin")

_LEEWAY_SECONDS = 60
_REMEMBERED = 20_000
_LONGEST_TOKEN = 8_192
_LONGEST_SUBJECT = 200
_REQUIRED = ["exp", "iss", "aud", "sub"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for. `user_hash` is the mark that an erasure of this user leaves."""

    user_id: str
    user_hash: str
    roles: frozenset[str]
    expires_at: float

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see and change all campaigns."""
        return "admin" in self.roles


class Tokens:
    """Verifies tokens. Of one that was found good no more than a hash is kept, until it expires."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys.

        Raises:
            SettingsError: a key is missing or cannot be read.
        """
        self._issuer, self._audience = settings.jwt_issuer, settings.jwt_audience
        self._keys = None if settings.jwt_keys is None else KeySet(settings.jwt_keys)
        self._algorithms = _algorithms(settings)
        if self._keys is None and self._algorithms != {"HS256"}:
            asked = ", ".join(sorted(self._algorithms - {"HS256"}))
            raise SettingsError(
                f"MARKETING_JWT_ALGORITHMS allows {asked}, and MARKETING_JWT_KEYS is not set",
                remedy="set MARKETING_JWT_KEYS to the key set of your login service, or leave "
                "MARKETING_JWT_ALGORITHMS out",
            )
        self._secret = keys.jwt_secret(settings) if "HS256" in self._algorithms else None
        self._pseudonym_key = keys.pseudonym_key(settings)
        self._erasure_key = keys.erasure_key(settings)
        self._known: dict[bytes, Caller] = {}
        if self._keys is not None:
            self._keys.read()

    async def caller(self, authorization: str) -> Caller:
        """The caller that the header `Authorization` names.

        Raises:
            Problem: 401, it names nobody.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
            raise _refused("send a header Authorization: Bearer <token>", "invalid_request")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None and time.time() < known.expires_at:
            return known
        caller = await self._verified(token)
        if len(self._known) >= _REMEMBERED:
            self._forget_oldest()
        self._known[digest] = caller
        return caller

    async def _verified(self, token: str) -> Caller:
        try:
            header = jwt.get_unverified_header(token)
            key, algorithm = await self._key(header)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
            return self._caller(claims)
        except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            # Which of its faults a token has helps nobody but who forges one.
            raise _refused("the token is not valid, or not valid now", "invalid_token") from None

    async def _key(self, header: Mapping[str, object]) -> tuple[PyJWK | bytes, str]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise ValueError("algorithm")
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        if self._keys is None or not (kid is None or isinstance(kid, str)):
            raise ValueError("key")
        key = await self._keys.key(kid)
        if key is None or key.algorithm_name != algorithm:
            raise ValueError("key")
        return key, key.algorithm_name

    def _caller(self, claims: Mapping[str, object]) -> Caller:
        subject, roles, expires_at = claims["sub"], claims.get("roles", []), claims["exp"]
        if not isinstance(subject, str) or not is_subject(subject):
            raise ValueError("sub")
        if not isinstance(roles, list) or not isinstance(expires_at, int | float):
            raise ValueError("roles")
        user = stored_id(self._pseudonym_key, subject)
        known = frozenset(role for role in roles if role in ROLES)
        return Caller(user, keyed_hash(self._erasure_key, user), known, expires_at + _LEEWAY_SECONDS)

    def _forget_oldest(self) -> None:
        for digest in list(self._known)[: _REMEMBERED // 4]:
            del self._known[digest]


def development_token(settings: Settings, user: str, roles: list[str], seconds: int) -> str:
    """A token signed with the HS256 secret of this machine or of the settings.

    Raises:
        SettingsError: there is no such secret, or its tokens are not allowed.
    """
    if "HS256" not in _algorithms(settings):
        raise SettingsError(
            "tokens are signed by a login service here (MARKETING_JWT_KEYS)",
            remedy="get one from it; or allow HS256 too, where nobody else calls: "
            "MARKETING_JWT_ALGORITHMS=EdDSA,ES256,RS256,HS256",
        )
    now = int(time.time())
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": user,
        "roles": roles,
        "iat": now,
        "exp": now + seconds,
    }
    return jwt.encode(claims, keys.jwt_secret(settings), algorithm="HS256")


def is_subject(user: str) -> bool:
    """Whether a user can be called so: as long as the tables take it, and text."""
    return 0 < len(user) <= _LONGEST_SUBJECT and "\0" not in user


def _algorithms(settings: Settings) -> frozenset[str]:
    default = ("HS256",) if settings.jwt_keys is None else ("EdDSA", "ES256", "RS256")
    return frozenset(settings.jwt_algorithms or default)


def caller_with(request: Request, *roles: Role) -> Caller:
    """The caller of a request, who has one of the roles.

    Raises:
        Problem: 403, none of them.
    """
    caller: Caller = request.scope["caller"]
    if caller.roles.isdisjoint(roles):
        raise Problem(403, f"this call needs the role {' or '.join(roles)}")
    return caller


async def _mobile(request: Request) -> Caller:
    return await not_erased(request, caller_with(request, "mobile"))


async def _any(request: Request) -> Caller:
    return await not_erased(request, caller_with(request, "mobile", "admin"))


async def _admin(request: Request) -> Caller:
    return await not_erased(request, caller_with(request, "admin"))


async def not_erased(request: Request, caller: Caller) -> Caller:
    """The caller, who has not asked to be erased.

    Raises:
        Problem: 410, they have.
    """
    from marketing_assets.storage.repositories.offers import IS_ERASED

    database = request.app.state.context.database
    if await database.value(IS_ERASED, {"user_hash": caller.user_hash}):
        raise erased()
    return caller


def erased() -> Problem:
    """410: the user has asked to be forgotten."""
    return Problem(410, "this user asked to be erased", kind="erased")


MobileCaller = Annotated[Caller, Depends(_mobile)]
AdminCaller = Annotated[Caller, Depends(_admin)]
AnyCaller = Annotated[Caller, Depends(_any)]


def _refused(detail: str, error: str) -> Problem:
    challenge = f'Bearer realm="marketing", error="{error}"'
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})
