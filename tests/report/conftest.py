"""A headless browser for the tests of the page; without Chromium and Playwright they are skipped."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

QUIET = ("gpu", "background-networking", "component-update", "sync")
FLAGS = ("--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET))
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium under Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """Opens a file without a network; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def to(path: Path, fragment: str = "", **options: Any) -> Any:
        settings = {"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("body[data-ready]")
        return page

    yield to
    for context in contexts:
        context.close()
    assert not complaints
