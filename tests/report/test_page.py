import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nas import report
from nas.report import page as made
from nas.report.page import inlined
from nas.report.read import read
from nas.run import Run
from tests.report import synthetic

DRAWN = {"shares", "alone", "importance", "calibration", "hypervolume", "hypervolume-time", "training", "costs"}


class Structure(HTMLParser):
    """Elements, ids and whether anything but our own scripts could run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]


def parsed(html: str) -> Structure:
    structure = Structure()
    structure.feed(html)
    return structure


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(synthetic.full_run(tmp_path_factory.mktemp("runs") / "first"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(synthetic.hostile_run(tmp_path_factory.mktemp("runs")))


def test_the_page_is_whole_and_stands_alone(page: Path) -> None:
    html = page.read_text()
    found = parsed(html)
    assert page.stat().st_size < 3e6
    assert found.tags.count("script") == 3
    assert not found.handlers
    assert "default-src 'none'" in html
    assert "unsafe-eval" not in html
    specs = json.loads(html.split('id="data">')[1].split("</script>")[0])["charts"]
    filled = {"explorer", "parallel"}
    assert {f"chart-{name}" for name in {*specs, *filled}} == {key for key in found.ids if key.startswith("chart-")}
    assert set(specs) == DRAWN


def test_every_arch_of_the_front_is_drawn_and_tabled(page: Path) -> None:
    html, run = page.read_text(), Run.at(page.parent)
    for row in run.read_json("search/main/front.json"):
        assert html.count(f'data-arch="{row["digest"]}"') == 2


def test_what_comes_from_files_is_escaped(hostile: Path) -> None:
    html = hostile.read_text()
    found = parsed(html)
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert not found.handlers
    assert "<script>document" not in html
    assert "<b>run" not in html
    assert "Left out: search/main/curve.json" in html
    assert "front.json: 3 of" in html


def test_inlined_json_cannot_leave_its_element() -> None:
    text = inlined({"a": "</script><!--&"})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"a": "</script><!--&"}


def test_only_a_live_page_may_ask_its_server(page: Path) -> None:
    record = read(Run.at(page.parent))
    assert "connect-src" not in page.read_text()
    live = made.page(record, live="/run/1")
    assert "connect-src 'self'" in live and '"live":"/run/1"' in live


def test_a_run_beside_others_is_compared(page: Path, tmp_path: Path) -> None:
    other = synthetic.full_run(tmp_path / "second")
    html = report.write(Run.at(page.parent), [other, Run.at(tmp_path / "empty")]).read_text()
    assert "chart-compared" in html and "Measured by more than one run" in html
    assert "empty has no measured front" in html


def test_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    html = report.write(Run.at(tmp_path)).read_text()
    for command in ("nas train", "nas profile", "nas search", "nas run"):
        assert f"<code>{command}</code>" in html
