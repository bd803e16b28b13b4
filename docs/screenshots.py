"""The pictures of docs/operations.md, made with a real browser on the demo's data: `make screenshots`.

Three nights in a directory that is thrown away, one check made to fail by a narrower limit, Dagster's UI as
`marketing up` serves it, and Chromium (Debian: apt-get install chromium). Nothing here is for tests.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

PICTURES = Path(__file__).parent / "operations"
GROUPS = ("ingest", "behaviour", "campaigns", "targeting", "publishing", "cleanup")
MARKETING = (sys.executable, "-c", "from marketing_assets.cli import main; main()")
NARROW = "volume_change: 0.01"
"""The limit of a check, so narrow that any day fails it."""

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_SECONDS = 60.0


def main() -> None:
    """Make every picture anew."""
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="marketing-pictures-") as home:
        environment = {**os.environ, "MARKETING_HOME": home}
        try:
            _nights(Path(home), environment)
            with _ui(environment) as address:
                _take(address)
        finally:
            subprocess.run([*MARKETING, "db", "stop"], env=environment, check=True)


def _nights(home: Path, environment: Mapping[str, str]) -> None:
    subprocess.run([*MARKETING, "demo"], env=environment, check=True)
    packaged = resources.files("marketing_assets.policy").joinpath("default.yaml").read_text("utf-8")
    policy = home / "policy.yaml"
    policy.write_text(re.sub(r"volume_change: [0-9.]+", NARROW, packaged), "utf-8")
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
    narrow = {**environment, "MARKETING_POLICY": str(policy)}
    subprocess.run([*MARKETING, "run", "--day", yesterday], env=narrow, check=True)


@contextmanager
def _ui(environment: Mapping[str, str]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    served = subprocess.Popen([*MARKETING, "up", "--port", str(port)], env=environment)
    try:
        _wait_for(f"{address}/server_info")
        yield address
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(_SECONDS)


def _wait_for(address: str) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _take(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=_FLAGS)
        page = browser.new_page()
        page.set_default_timeout(_SECONDS * 1000)
        page.goto(address)
        page.get_by_text("Hide navigation").click()
        for picture in (_graph, _asset, _check):
            picture(page, address)
        browser.close()


def _graph(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 2800, "height": 2000})
    page.goto(f"{address}/asset-groups?expanded={','.join(f'global@global:{group}' for group in GROUPS)}")
    page.get_by_text("published_night", exact=True).first.wait_for()
    _settled(page)
    expect(page.locator("body")).not_to_contain_text("Loading", timeout=_SECONDS * 1000)
    _save(page, "asset-graph", left=380, top=110)  # the graph alone, which is as wide as the window lets it


def _asset(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1600, "height": 2000})
    page.goto(f"{address}/assets/segment_summary?view=overview")
    page.get_by_text("users/general").first.wait_for()
    _settled(page)
    _save(page, "asset-page")


def _check(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.goto(f"{address}/assets/transactions?view=checks&checkDetail=volume")
    page.get_by_text("how_to_list").first.wait_for()
    _settled(page)
    _save(page, "failed-check")


def _save(page: Page, name: str, left: int = 0, top: int = 0) -> None:
    """A palette is enough for text and lines, at half the size."""
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    picture = picture.crop((left, top, picture.width, picture.height))
    picture.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def _settled(page: Page) -> None:
    page.wait_for_load_state("networkidle", timeout=_SECONDS * 1000)
    page.wait_for_timeout(3000)  # the graph is laid out, states arrive


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("make screenshots needs a browser: apt-get install chromium")
    return found


if __name__ == "__main__":
    main()
