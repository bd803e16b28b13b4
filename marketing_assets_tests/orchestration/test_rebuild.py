"""A night that is decided again comes to the same, also where a campaign has expired since."""

from datetime import timedelta

import pytest

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.orchestration.jobs import NIGHTLY
from marketing_assets.orchestration.platform import REBUILD_TAG
from marketing_assets.storage.archive import expire
from marketing_assets.storage.writer import WriterLock
from marketing_assets_tests.orchestration.sensors import at, on
from marketing_assets_tests.world import DAY, World, population, purchases

NEXT = DAY + timedelta(days=1)


@pytest.mark.verify
def test_what_has_expired_since_takes_targets_again(decided_world: World) -> None:
    world = decided_world
    world.write([*population(), *purchases("newcomer", [NEXT])])
    assert world.night(NEXT).success
    before = world.snapshot()
    lock = WriterLock(world.urls.product, "the clean-up")
    lock.acquire(5, lambda _: None)
    expired = expire(lock, on(DAY + timedelta(days=25), 3))
    lock.release()
    welcome = f"welcome-bonus-{NEXT}"
    assert expired == [f"re-engagement-{NEXT}", welcome]
    expired_since = world.tables()

    with at(world, on(NEXT + timedelta(days=1), 2)):
        job = build_definitions(world.settings).resolve_job_def(NIGHTLY)
        rebuilt = job.execute_in_process(
            instance=world.instance, partition_key=str(NEXT), tags={REBUILD_TAG: "true"}
        )
    assert rebuilt.success
    assert world.files() == {name: digest for name, digest in before.items() if name.endswith(".parquet")}
    # The campaigns stay expired; their targets, the newcomer's too, are those that were published before.
    assert world.tables() == expired_since
    assert world.rows(
        "select campaign_id, assigned_on from marketing.campaign_targets where user_id = 'newcomer'"
        f" and campaign_id = '{welcome}'"
    ) == [(welcome, NEXT + timedelta(days=1))]
