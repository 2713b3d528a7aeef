"""A pytest plugin: pages in a real browser, Debian's Chromium, and a folder for their pictures.

pytest_plugins = ["tests.browser"]

def test_report(new_page: NewPage, screenshots: Path) -> None:
    page = new_page()
    page.goto("file:///tmp/report.html")
    expect(page.get_by_role("heading", name="Scores")).to_be_visible()
    page.screenshot(path=screenshots / "report.png")
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
NewPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. It goes with the module: beside it, asyncio.run() is refused."""
    if not CHROMIUM.exists():
        pytest.fail(f"no {CHROMIUM}: apt-get install --yes chromium fonts-noto-cjk", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # Chromium's sandbox is not there for root; /dev/shm is 64 MB in many containers.
            args=["--disable-dev-shm-usage", *["--no-sandbox"] * (os.geteuid() == 0)],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept: the folder HW2_SCREENSHOTS, else a temporary one."""
    told = os.environ.get("HW2_SCREENSHOTS")
    folder = Path(told).absolute() if told else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def new_page(
    browser: Browser, screenshots: Path, request: pytest.FixtureRequest
) -> Iterator[NewPage]:
    """Opens a page of a new profile: `new_page(http_credentials=...)`, as Playwright's new_context.

    How each page looked when the test ended is kept as TEST_end_N.png: what a failure saw.
    """
    pages: list[Page] = []

    def new(**profile: object) -> Page:
        profile = {"viewport": {"width": 1400, "height": 1000}, "locale": "en-US"} | profile
        pages.append(browser.new_context(**profile).new_page())
        return pages[-1]

    yield new
    name = re.sub(r"\W+", "_", request.node.name).strip("_")
    for number, page in enumerate(pages):
        page.screenshot(path=screenshots / f"{name}_end_{number}.png")
        page.context.close()
