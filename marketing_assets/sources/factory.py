"""Makes the source that the settings name. Each source's module is imported only when it is used."""

from pathlib import Path

from marketing_assets.errors import SourceError
from marketing_assets.settings import Settings
from marketing_assets.sources.base import Source, load_mapping


def make_source(settings: Settings, *, shift_days: int | None, scratch: Path) -> Source:
    """The source of transactions.

    Args:
        settings: says which source, where, and with which mapping.
        shift_days: by how many days The Complete Journey is moved; None leaves its real dates.
        scratch: directory for temporary files.

    Raises:
        SourceError: a setting that the source needs is missing, or the mapping is wrong.
    """
    if settings.source == "complete_journey":
        from marketing_assets.sources.complete_journey import CompleteJourneySource

        return CompleteJourneySource(shift_days=shift_days)
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

    return PostgresSource(url, mapping, scratch)
