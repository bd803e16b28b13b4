"""Secret keys that this machine made for itself, for a laptop that has nobody to hand one out.

They lie in `MARKETING_HOME/keys`, readable by their owner alone, and are made at first use. Where an address
of a database is set, the system is somebody's production: there the keys have to be given.
"""

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from marketing_assets.errors import SettingsError
from marketing_assets.settings import LEAST_SECRET, Settings


def jwt_secret(settings: Settings) -> bytes:
    """The secret that HS256 tokens are signed with.

    Raises:
        SettingsError: it has to be given, or cannot be kept.
    """
    return _key(settings, settings.jwt_secret, "MARKETING_JWT_SECRET")


def erasure_key(settings: Settings) -> bytes:
    """The key by which an erased user is known.

    Raises:
        SettingsError: it has to be given, or cannot be kept.
    """
    return _key(settings, settings.erasure_key, "MARKETING_ERASURE_KEY")


def pseudonym_key(settings: Settings) -> bytes | None:
    """The key by which every user id is replaced where it comes in; None where ids are kept as they are."""
    given = settings.pseudonym_key
    return None if given is None else given.get_secret_value().encode()


def _key(settings: Settings, given: SecretStr | None, variable: str) -> bytes:
    if given is not None:
        return given.get_secret_value().encode()
    if settings.database_url is not None:
        raise SettingsError(
            f"{variable} is not set",
            remedy=f"set {variable} to a secret of at least 32 bytes (openssl rand -hex 32), the same for "
            "every process of this system",
        )
    file = (settings.home / "keys" / variable.removeprefix("MARKETING_").lower()).resolve()
    try:
        key = _kept(file)
    except OSError as error:
        raise SettingsError(
            f"the key {file} cannot be made or read: {error.strerror or error}",
            remedy=f"make it readable and writable for its owner, or set {variable}",
        ) from error
    if len(key) < LEAST_SECRET:
        raise SettingsError(
            f"the key in {file} is shorter than {LEAST_SECRET} bytes",
            remedy=f"put back what stood there, or set {variable}; where nothing was done with it yet, "
            "remove the file: another one is made",
        )
    return key


def _kept(file: Path) -> bytes:
    """The key in this file, made if there is none; of several processes that make one, the first wins."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return file.read_bytes()
