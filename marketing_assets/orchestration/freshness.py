"""When what the app reads must be there: the freshness policy of the assets on the way to it.

Dagster judges an asset by its newest materialisation, whatever its partition; that yesterday's partition in
particular was published is looked at elsewhere.
"""

from datetime import timedelta

import dagster as dg

from marketing_assets.settings import Settings

_DAY = timedelta(days=1)


def published_every_night(settings: Settings) -> dg.FreshnessPolicy:
    """Made between midnight and the deadline, which is some hours after the night begins, in its zone.

    A night that was started by hand right after midnight counts. A night that begins late in the evening has
    its deadline on the next day.
    """
    begins = timedelta(hours=settings.analysis_hour, minutes=settings.analysis_minute)
    deadline = begins + timedelta(hours=settings.deadline_hours)
    minutes = int((deadline % _DAY).total_seconds()) // 60
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"{minutes % 60} {minutes // 60} * * *",
        lower_bound_delta=min(deadline, _DAY),
        timezone=settings.timezone,
    )
