"""Every error a user can meet, each with its remedy.

One hierarchy, so that the command, the Dagster run and the tests show the same sentence: what was
wrong, where, and what to do. Nothing here knows how an error is displayed.
"""

from datetime import date


class MarketingError(Exception):
    """An error with a remedy. `str()` gives both, as one line each.

    `transient`: trying again in a moment can help, because what failed was a connection or a server and
    not what was asked of it. Bad data and wrong settings are never transient.
    """

    def __init__(self, message: str, *, remedy: str, transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.message}\n  What to do: {self.remedy}"


class SettingsError(MarketingError):
    """An environment variable has a value that is not allowed."""


class PolicyError(MarketingError):
    """The policy file is not readable, or says something that makes no sense."""


class SourceError(MarketingError):
    """The source of transactions is unreachable, lacks a table or column, or cannot be read."""


class RejectedShareError(MarketingError):
    """Too many of a day's source rows had to be rejected; the day was not ingested.

    `day` is the first such day, `share` its rejected rows / rows read.
    """

    def __init__(self, message: str, *, remedy: str, day: date, share: float) -> None:
        super().__init__(message, remedy=remedy)
        self.day = day
        self.share = share


class LakeError(MarketingError):
    """The lake cannot be read or written, or was made with other settings."""


class MissingPartitionError(LakeError):
    """A step needs partitions of the lake that were never made."""


class ArchiveError(MarketingError):
    """What was archived is not what the serving tables held; nothing was removed from them."""


class AuditError(MarketingError):
    """The audit log is not what was written; the message names the first entry that is not."""


class DagsterStorageError(MarketingError):
    """Dagster's own database is not of the schema whose events can be removed."""


class DatabaseError(MarketingError):
    """PostgreSQL cannot be started, reached or upgraded."""


class WriterLockError(MarketingError):
    """Another writer holds the lock, or this one lost it."""


class UnavailableError(MarketingError):
    """What a run works with could not be had when it began, and may be there in a quarter of an hour."""


class NightError(MarketingError):
    """A night cannot be decided: its day is not over, or it was decided in another order."""


class QueryError(MarketingError):
    """A statement given to `marketing sql` cannot be run."""


class RunFailedError(MarketingError):
    """A run did not succeed; its error says why."""


class ServeError(MarketingError):
    """One of the services of `marketing up` ended by itself."""


class RequestError(MarketingError):
    """A row of `requests` asks for something that nobody knows, or that makes no sense."""


class CampaignError(MarketingError):
    """A campaign cannot be made or changed as somebody asks; nothing was changed."""


class UnknownCampaignError(CampaignError):
    """There is no campaign of that id."""


class StaleRevisionError(CampaignError):
    """The campaign was changed since it was read; `revision` is the one that it has now."""

    def __init__(self, message: str, *, remedy: str, revision: int) -> None:
        super().__init__(message, remedy=remedy)
        self.revision = revision


class RefusedChangeError(CampaignError):
    """What somebody asks of a campaign makes no sense, or comes too late."""
