"""How many calls one caller may make: counted per caller, strangers by address, in windows of the clock."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from marketing_assets.errors import SettingsError
from marketing_assets.settings import Settings
from marketing_assets.sidecar import limits
from marketing_assets.sidecar.limits import Limiter, Used
from marketing_assets_tests.sidecar.nearby import nearby
from marketing_assets_tests.sidecar.service import bearer, token

LIST = "/api/marketing/campaigns"
API = "/api/marketing"


@pytest.fixture(scope="module")
def limited(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A sidecar that takes four calls an hour of each caller."""
    home = tmp_path_factory.mktemp("limited")
    with nearby(shared_database, home, MARKETING_RATE_LIMIT="4/hour") as made:
        yield made.client


def test_the_call_too_many_is_refused_and_told_when_to_come_again(limited: httpx.Client) -> None:
    answers = [limited.get(LIST, headers=bearer("ann")) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    left = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert left == ["r=3", "r=2", "r=1", "r=0", "r=0", "r=0"]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"caller";q=4;w=3600'}
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert refused.headers["RateLimit"] == f'"caller";r=0;t={refused.headers["Retry-After"]}'
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert {**refused.json(), "instance": ""} == {
        "type": "urn:marketing:problem:rate-limited",
        "title": "Too many calls",
        "status": 429,
        "detail": "at most 4 calls in 3600 s",
        "instance": "",
    }


def test_callers_are_counted_by_who_they_are_not_by_where_they_call_from(limited: httpx.Client) -> None:
    for _ in range(5):
        last = limited.get(LIST, headers=bearer("bob"))
    assert last.status_code == 429
    assert limited.get(LIST, headers=bearer("carol")).status_code == 200
    other_token = {"Authorization": f"Bearer {token('bob', 'mobile', 'admin')}"}
    assert limited.get(LIST, headers=other_token).status_code == 429
    for path in ("/healthz", "/readyz", "/metrics"):
        assert limited.get(path).status_code == 200
        assert "RateLimit" not in limited.get(path).headers


def test_strangers_are_counted_by_address_and_take_nothing_from_callers(limited: httpx.Client) -> None:
    answers = [limited.get(LIST, headers={"Authorization": f"Bearer {n}.x.x"}) for n in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 401, 429]
    assert limited.get(LIST).status_code == 429
    assert limited.post(f"{API}/nothing").status_code == 429
    assert limited.get(LIST, headers=bearer("dave")).status_code == 200


def limiter(monkeypatch: pytest.MonkeyPatch, rate: str = "2/minute") -> tuple[Limiter, SimpleNamespace]:
    clock = SimpleNamespace(now=1_200_000_000.0)
    monkeypatch.setattr(limits, "time", SimpleNamespace(time=lambda: clock.now))
    return Limiter(Settings.model_validate({"MARKETING_RATE_LIMIT": rate})), clock


def count(counter: Limiter, caller: str) -> Used:
    return asyncio.run(counter.count(caller))


def test_a_window_ends_for_all_at_once_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    counter, clock = limiter(monkeypatch)
    clock.now += 12.25
    assert count(counter, "ann") == Used(True, 1, 48)
    assert count(counter, "ann") == Used(True, 0, 48)
    assert count(counter, "ann") == Used(False, 0, 48)
    clock.now += 47.7
    assert count(counter, "ann") == Used(False, 0, 1)
    assert count(counter, "bob") == Used(True, 1, 1)
    clock.now += 0.05
    assert count(counter, "ann") == Used(True, 1, 60)
    assert dict(counter._counts) == {"ann": 1}


@pytest.mark.parametrize(("rate", "seconds"), [("7/second", 1), ("7/minute", 60), ("7/hour", 3600)])
def test_rates_are_of_a_second_a_minute_or_an_hour(
    rate: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter, _ = limiter(monkeypatch, rate)
    assert (counter.calls, counter.seconds, counter.policy) == (7, seconds, f'"caller";q=7;w={seconds}')
    assert count(counter, "ann").resets_in <= seconds


class Redis:
    """What a Redis would count."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.expires: set[float] = set()
        self.is_away = False

    async def incr(self, key: str, expiry: float) -> int:
        if self.is_away:
            raise ConnectionError("away")
        self.counts[key] += 1
        self.expires.add(expiry)
        return self.counts[key]


def test_workers_with_a_redis_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = Redis()
    monkeypatch.setattr(limits, "_storage", lambda _: redis)
    one, clock = limiter(monkeypatch)
    other, _ = limiter(monkeypatch)
    assert [count(one, "ann").allowed, count(other, "ann").allowed] == [True, True]
    assert [count(one, "ann").allowed, count(other, "ann").allowed] == [False, False]
    assert count(other, "bob").left == 1
    window = int(clock.now) // 60
    assert redis.counts == {f"marketing/{window}/ann": 4, f"marketing/{window}/bob": 1}
    assert redis.expires == {61}


def test_a_redis_that_is_away_limits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = Redis()
    monkeypatch.setattr(limits, "_storage", lambda _: redis)
    counter, _ = limiter(monkeypatch)
    redis.is_away = True
    assert {count(counter, "ann").allowed for _ in range(5)} == {True}
    redis.is_away = False
    assert [count(counter, "ann").allowed for _ in range(3)] == [True, True, False]


def test_a_redis_without_its_client_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    settings = Settings.model_validate({"MARKETING_RATE_LIMIT_STORAGE": "redis://127.0.0.1:1/0"})
    with pytest.raises(SettingsError, match="its client is not installed") as refused:
        Limiter(settings)
    assert "pip install 'redis" in refused.value.remedy
