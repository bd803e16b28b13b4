"""Analytics over HTTP: who may see them, and which ranges of days there are."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from marketing_assets_tests.sidecar.service import bearer

ANALYTICS = "/api/marketing/analytics"
ADMIN = bearer("boss", "admin")


def test_users_of_the_app_see_none(client: httpx.Client) -> None:
    answer = client.get(ANALYTICS, headers=bearer("ann"))
    assert (answer.status_code, answer.json()["detail"]) == (403, "this call needs the role admin")


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("from=2026-01-01&to=2026-01-01", "2026-01-01", "2026-01-01"),
        ("from=2025-01-01&to=2026-02-04", "2025-01-01", "2026-02-04"),
        ("to=2026-01-30", "2026-01-01", "2026-01-30"),
        ("from=2099-01-01", "2099-01-01", "2099-01-01"),
        ("to=0001-01-01", "0001-01-01", "0001-01-01"),
        ("from=0001-01-01&to=0001-01-03", "0001-01-01", "0001-01-03"),
        ("from=9999-12-31", "9999-12-31", "9999-12-31"),
        ("to=9999-12-31", "9999-12-02", "9999-12-31"),
    ],
)
def test_a_range_is_what_was_asked(query: str, first: str, last: str, client: httpx.Client) -> None:
    answer = client.get(f"{ANALYTICS}?{query}", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["from"], answer.json()["to"]) == (first, last)


def test_without_days_it_is_the_last_thirty(client: httpx.Client) -> None:
    today = datetime.now(UTC).date()
    told = client.get(ANALYTICS, headers=ADMIN).json()
    assert (told["from"], told["to"]) == (str(today - timedelta(days=29)), str(today))


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-01-02&to=2026-01-01",
        "from=2025-01-01&to=2026-02-05",
        "from=yesterday",
        "from=2026-02-30",
        "from=2026-1-1",
        "from=",
        "from=0",
        "from=1795631780",
        "from=2026-01-01T00:00:00",
        "to=2026-01-01'--",
        "to=%00",
    ],
)
def test_a_range_that_makes_no_sense_is_refused(query: str, client: httpx.Client) -> None:
    answer = client.get(f"{ANALYTICS}?{query}", headers=ADMIN)
    assert answer.status_code == 422, answer.text
    assert {each["pointer"] for each in answer.json()["errors"]} <= {"/query/from", "/query/to"}
