"""`marketing token`: a token of the development secret; in production the login service gives them."""

from datetime import timedelta

import typer

from marketing_assets.settings import Settings


def token_for(settings: Settings, user: str, roles: list[str], hours: float) -> str:
    """A token for this user, valid for so many hours from now.

    Raises:
        BadParameter: no sidecar would take such a user or role.
        SettingsError: there is no such secret, or the sidecar takes no token of it.
    """
    from marketing_assets.sidecar.security import ROLES, development_token, is_subject

    if not is_subject(user):
        raise typer.BadParameter("--user is 1 to 200 characters")
    for role in roles:
        if role not in ROLES:
            raise typer.BadParameter(f"--role {role} is not known; use {' or '.join(ROLES)}")
    return development_token(settings, user, roles, int(timedelta(hours=hours).total_seconds()))
