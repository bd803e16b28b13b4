"""What the calls work with: settings, policy, tokens, limits, metrics and the connections to PostgreSQL."""

from functools import cached_property
from typing import TYPE_CHECKING

from marketing_assets.policy.load import load_policy
from marketing_assets.settings import Settings
from marketing_assets.sidecar.database import Database
from marketing_assets.sidecar.limits import Limiter
from marketing_assets.sidecar.metrics import Metrics
from marketing_assets.sidecar.offers import Promises
from marketing_assets.sidecar.security import Tokens
from marketing_assets.storage.database import connect, locate

if TYPE_CHECKING:
    from sqlalchemy import Engine


class Context:
    """Made once a process, before the first call. Opens no connection: the database may come later."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys and the policy.

        Raises:
            SettingsError: a key is missing.
            PolicyError: the policy file is wrong.
            DatabaseError: the embedded database does not start.
        """
        self.settings = settings
        self.zone = settings.zone
        self.policy = load_policy(settings.policy, settings.window_days)
        self.tokens = Tokens(settings)
        self.limiter = Limiter(settings)
        self.metrics = Metrics()
        self.promises = Promises(self)
        self._url = locate(settings).product
        self.database = Database(
            self._url.replace("postgresql+psycopg://", "postgresql://"), settings.sidecar_connections
        )

    @cached_property
    def engine(self) -> "Engine":
        """For the calls of admins, which run in threads."""
        return connect(self._url, pre_ping=True)

    async def close(self) -> None:
        """Close every connection."""
        await self.database.close()
        if "engine" in self.__dict__:
            self.engine.dispose()
