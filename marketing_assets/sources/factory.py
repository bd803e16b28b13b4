"""Makes the source that the settings name. Each source's module is imported only when it is used."""

from collections.abc import Callable
from datetime import datetime

from marketing_assets.errors import SourceError
from marketing_assets.settings import Settings
from marketing_assets.sources.base import Source, load_mapping
from marketing_assets.storage.lake import Lake


def make_source(
    settings: Settings, *, shift_days: int | None, lake: Lake, now: Callable[[], datetime]
) -> Source:
    """The source of transactions.

    Args:
        settings: says which source, where, and with which mapping.
        shift_days: by how many days The Complete Journey is moved; None leaves its real dates.
        lake: has a directory for temporary files, and tells the simulated users of their offers.
        now: the instant it is, from the one clock; simulated rows that arrive later are not there yet.

    Raises:
        SourceError: a setting that the source needs is missing, or the mapping is wrong.
    """
    if settings.source == "complete_journey":
        from marketing_assets.sources.complete_journey import CompleteJourneySource

        return CompleteJourneySource(shift_days=shift_days)
    if settings.source == "simulated":
        from marketing_assets.sources.simulated import SimulatedSource

        return SimulatedSource(
            users=settings.simulated_users, seed=settings.simulated_seed, lake=lake, now=now
        )
    mapping = load_mapping(settings.source_mapping)
    if settings.source_url is None:
        raise SourceError(
            f"MARKETING_SOURCE={settings.source} needs MARKETING_SOURCE_URL",
            remedy="set it to a path or glob of Parquet or CSV files (files), "
            "or to postgresql://user:password@host:5432/database (postgres)",
        )
    url = settings.source_url.get_secret_value()
    if settings.source == "files":
        from marketing_assets.sources.files import FilesSource

        return FilesSource(url, mapping)
    from marketing_assets.sources.postgres import PostgresSource

    return PostgresSource(url, mapping, lake.scratch)
