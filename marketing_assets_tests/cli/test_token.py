"""`marketing token`: a token that the sidecar on the same settings takes, and nobody else."""

import time
from pathlib import Path

import jwt
import pytest

from marketing_assets.cli.token import token_for
from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings
from marketing_assets.storage import keys


def settings(tmp_path: Path, **more: str) -> Settings:
    return Settings.model_validate({"MARKETING_HOME": str(tmp_path), **more})


def test_it_says_who_which_roles_and_until_when(tmp_path: Path) -> None:
    own = settings(tmp_path)
    token = token_for(own, "ann", ["mobile", "admin"], 0.5)
    said = jwt.decode(token, keys.jwt_secret(own), ["HS256"], audience="marketing", issuer="marketing-assets")
    assert (said["sub"], said["roles"]) == ("ann", ["mobile", "admin"])
    assert said["exp"] - said["iat"] == 1800
    assert abs(said["iat"] - time.time()) < 5


def test_where_a_login_service_signs_there_is_none_to_print(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="signed by a login service") as refused:
        token_for(settings(tmp_path, MARKETING_JWT_KEYS="https://login.example/keys"), "ann", ["mobile"], 1)
    assert "MARKETING_JWT_ALGORITHMS" in refused.value.remedy


def test_where_both_are_allowed_there_is_one(tmp_path: Path) -> None:
    both = {"MARKETING_JWT_KEYS": "https://login.example/keys", "MARKETING_JWT_ALGORITHMS": "EdDSA,HS256"}
    assert token_for(settings(tmp_path, **both), "ann", ["mobile"], 1).count(".") == 2


def test_in_production_the_secret_has_to_be_given(tmp_path: Path) -> None:
    away = settings(tmp_path, MARKETING_DATABASE_URL="postgresql://127.0.0.1:1/marketing")
    with pytest.raises(SettingsError, match="MARKETING_JWT_SECRET is not set"):
        token_for(away, "ann", ["mobile"], 1)
