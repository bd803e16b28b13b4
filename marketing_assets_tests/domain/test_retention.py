"""How long the lake keeps what."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from marketing_assets.domain.retention import Kept, Standing, first_kept, look_back_days
from marketing_assets.policy.load import load_policy

TODAY = date(2027, 6, 1)


def kept(newest: date | None, oldest: date | None = None, look_back: int = 416) -> Kept:
    return first_kept(
        TODAY,
        Standing(newest, oldest),
        data_days=400,
        behaviour_days=35,
        look_back=look_back,
        window_days=90,
    )


def test_the_longest_look_back_is_that_of_the_longest_cooldown_and_campaign() -> None:
    # welcome-bonus: 21 days, and 365 of cooldown
    assert look_back_days(load_policy(None).campaigns) == 365 + 21 + 30
    assert look_back_days([]) == 30


def test_so_many_days_before_today_are_kept() -> None:
    assert kept(TODAY - timedelta(days=1)) == Kept(
        data=TODAY - timedelta(days=400),
        behaviour=TODAY - timedelta(days=35),
        targets=TODAY - timedelta(days=416),
    )
    assert kept(None) == kept(TODAY - timedelta(days=1))


def test_targets_are_kept_as_long_as_data_where_no_cooldown_looks_back_further() -> None:
    assert kept(None, look_back=30).targets == TODAY - timedelta(days=400)


def test_after_a_long_stop_the_newest_night_keeps_its_window_and_the_day_before() -> None:
    newest = TODAY - timedelta(days=700)
    assert kept(newest) == Kept(
        data=newest - timedelta(days=89),
        behaviour=newest - timedelta(days=1),
        targets=newest - timedelta(days=89),
    )


def test_nights_that_open_campaigns_and_published_targets_come_from_are_kept() -> None:
    oldest = TODAY - timedelta(days=600)
    found = kept(TODAY - timedelta(days=1), oldest)
    assert (found.data, found.targets) == (oldest - timedelta(days=1), oldest - timedelta(days=1))
    assert found.behaviour == TODAY - timedelta(days=35)


@given(
    newest=st.integers(1, 2000),
    oldest=st.integers(0, 2000),
    data_days=st.integers(90, 1000),
    behaviour_days=st.integers(2, 400),
    look_back=st.integers(30, 1000),
)
def test_nothing_that_is_needed_goes(
    newest: int, oldest: int, data_days: int, behaviour_days: int, look_back: int
) -> None:
    night, published = TODAY - timedelta(days=newest), TODAY - timedelta(days=oldest)
    found = first_kept(
        TODAY,
        Standing(night, published),
        data_days=data_days,
        behaviour_days=behaviour_days,
        look_back=look_back,
        window_days=90,
    )
    assert found.data <= min(night - timedelta(days=89), published - timedelta(days=1))
    assert found.behaviour <= night - timedelta(days=1)
    assert found.targets <= min(found.data, TODAY - timedelta(days=look_back))
