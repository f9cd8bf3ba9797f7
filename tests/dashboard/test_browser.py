"""The pages in a browser: they follow what happens, compare runs, and run nothing that a run folder brings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.dashboard.renderer import Renderer
from nas.presence import at_work
from nas.run import Run
from tests.dashboard.conftest import Served, address, serving
from tests.report.synthetic import HOSTILE, full_run, hostile_run

pytestmark = pytest.mark.slow
PATIENCE = 30_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        full_run(tmp_path / "runs" / name, count=10)
    return tmp_path / "runs"


@pytest.fixture
def served(root: Path, renderer: Renderer) -> Iterator[Served]:
    with serving(root, render=renderer) as started:
        yield started


@pytest.fixture
def page(chromium: Any, served: Served) -> Iterator[Any]:
    """A page that fails the test by whatever the browser complains of."""
    complaints: list[str] = []
    context = chromium.new_context(base_url=f"http://127.0.0.1:{served.server.port}")
    made = context.new_page()
    made.set_default_timeout(PATIENCE)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    yield made
    context.close()
    refused = ("favicon", "net::ERR_FAILED")  # the second: what a test did not let through
    assert not [text for text in complaints if not any(one in text for one in refused)]


def test_the_list_follows_runs_and_leads_to_them(page: Any, root: Path) -> None:
    page.goto("/")
    assert page.locator("tbody tr").count() == 2
    with at_work(root / "first", "search"):
        page.get_by_text("search running").wait_for()
        full_run(root / "third", count=4)
        page.get_by_role("link", name="third").wait_for()
        assert "3 runs, 1 at work" in page.locator("h1").text_content()
    page.get_by_text("search done").wait_for()
    page.get_by_role("link", name="second").click()
    page.wait_for_url(f"**{address(root / 'second')}/")
    page.get_by_role("heading", name="second").wait_for()
    page.get_by_role("link", name="activity").click()
    page.wait_for_url("**/activity")
    page.go_back()
    page.get_by_role("link", name="all runs").click()
    page.wait_for_url("**/")
    assert page.locator("tbody tr").count() == 3


def test_a_page_without_events_asks_now_and_then(page: Any, root: Path) -> None:
    page.route("**/events", lambda route: route.abort())
    page.goto(f"{address(root / 'first')}/")
    page.get_by_text("connection lost").wait_for()
    page.get_by_text("live: as of").wait_for()


def test_chosen_boxes_survive_news_and_are_compared(page: Any, root: Path) -> None:
    page.goto("/")
    for box in page.locator("input[name=run]").all():
        box.check()
    with at_work(root / "first", "train"):
        page.get_by_text("train running").wait_for()
        assert page.locator("input[name=run]:checked").count() == 2
        page.get_by_role("button", name="compare").click()
        page.wait_for_url("**/run/*+*/")


def test_a_page_takes_new_evaluations_in_place(page: Any, root: Path) -> None:
    page.goto(f"{address(root / 'first')}/")
    page.get_by_text("live: as of").wait_for()
    more = full_run(root.parent / "more", count=40).log("search/main/archive.jsonl").rows()
    before = page.get_by_text("architectures within the limits").text_content()
    for row in more:
        Run(root / "first").log("search/main/archive.jsonl").append(row)
    page.wait_for_function(
        "before => ![...document.querySelectorAll('p')].some((p) => p.textContent === before)", arg=before
    )


def test_activity_shows_failures_as_text(page: Any, root: Path) -> None:
    page.goto(f"{address(root / 'first')}/activity")
    failed = {"digest": HOSTILE, "error": HOSTILE, "origin": "x"}
    Run(root / "first").log("search/main/archive.jsonl").append(failed)
    page.locator("li").get_by_text("</script><script>").first.wait_for()
    assert page.title() != "taken"


def test_hostile_names_are_text(page: Any, root: Path) -> None:
    run = hostile_run(root.parent / "made").path.rename(root / "<img src=x onerror=\"document.title='taken'\">")
    for path in ("/", f"{address(run)}/activity"):
        page.goto(path)
        page.get_by_text("<img src=x").first.wait_for()
        page.get_by_text("live: as of").wait_for()
        assert page.title() != "taken" and page.locator("img").count() == 0
