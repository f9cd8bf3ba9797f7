import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nas import report
from nas.report.page import inlined
from nas.run import Run
from tests.report import synthetic

CHROMIUM = shutil.which("chromium")
QUIET = ("background-networking", "component-update", "sync", "gpu")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", "--enable-logging=stderr", "--v=0"]
FLAGS += ["--virtual-time-budget=10000", *(f"--disable-{feature}" for feature in QUIET)]


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
    specs = json.loads(html.split('id="specs">')[1].split("</script>")[0])
    assert {f"chart-{name}" for name in specs} == {key for key in found.ids if key.startswith("chart-")}
    assert set(specs) == {"front", "shares", "alone", "calibration", "hypervolume", "training", "costs"}


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


def test_an_empty_run_says_what_to_run(tmp_path: Path) -> None:
    html = report.write(Run.at(tmp_path)).read_text()
    for command in ("nas train", "nas profile", "nas search", "nas run"):
        assert f"<code>{command}</code>" in html


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("name", ["page", "hostile"])
def test_a_browser_draws_it_without_a_complaint(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path: Path = request.getfixturevalue(name)
    profile = f"--user-data-dir={tmp_path}"
    command = [str(CHROMIUM), *FLAGS, profile, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert 'data-ready="yes"' in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "<title>taken" not in done.stdout
    written = path.read_text()
    charts = [key for key in parsed(written).ids if key.startswith("chart-")]
    assert done.stdout.count("<svg") - written.count("<svg") == len(charts)
