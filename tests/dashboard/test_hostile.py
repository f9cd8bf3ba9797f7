"""Run folders that mean harm: they are shown as far as they can be, and do none."""

import hashlib
import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nas.dashboard.renderer import Renderer
from nas.run import Run
from tests.dashboard.conftest import Served, address, serving
from tests.report.synthetic import HOSTILE, full_run, hostile_run

SECRET = "the-content-of-another-file"


class Elements(HTMLParser):
    """Which elements a page has, and what would run or load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.runs: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.runs += [f"{name}={text}" for name, text in attrs if name.startswith("on") or name == "src"]
        self.runs += [text or "" for name, text in attrs if name == "href" and not (text or "").startswith("/")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with scripts for names, files that lead away, are torn, too deep, endless or huge."""
    home = tmp_path_factory.mktemp("home")
    (home / "secret.json").write_text(json.dumps({"search.hypervolume": 0.123, SECRET: SECRET}))
    (home / "secrets").mkdir()
    (home / "secrets" / "result.json").write_text(json.dumps({"digest": SECRET, SECRET: SECRET}))
    root = home / "runs"
    _named(root)
    _leading_away(root, home)
    _broken(root)
    _huge(root)
    return root


def _named(root: Path) -> None:
    name = "<script>document.title='taken'<\u2215script>\"onload=x&"
    root.mkdir()
    run = Run(hostile_run(root.parent / "made").path.rename(root / name))
    run.write_json("run.json", {"settings": {"data": {"name": HOSTILE}, "space": {"name": HOSTILE}}})
    run.write_json("profile/device.json", {"cpu": HOSTILE, "runtime": HOSTILE})
    run.log("search/main/archive.jsonl").append({"digest": HOSTILE, "error": HOSTILE, "origin": HOSTILE})
    run.log("search/main/archive.jsonl").append({"claim": [HOSTILE], "owner": "../../../x"})
    (run.path / ".at_work").write_text(json.dumps({"stage": HOSTILE, "since": 0, "outcome": HOSTILE}))


def _leading_away(root: Path, home: Path) -> None:
    run = Run.at(root / "leading")
    run.write_json("run.json", {})
    for name in ("summary.json", "profile/device.json", "profile/card.json", ".at_work"):
        run.file(name).symlink_to(home / "secret.json")
    run.file("search/main/archive.jsonl").symlink_to(home / "secret.json")
    run.file("retrain/x").symlink_to(home / "secrets")
    run.file("export/y/card.json").symlink_to("../../../../secret.json")
    (root / "linked").symlink_to(home / "secrets")


def _broken(root: Path) -> None:
    run = full_run(root / "broken", count=12)
    archive = run.file("search/main/archive.jsonl")
    text = "[" * 50_000 + "]" * 50_000
    with archive.open("ab") as stream:
        stream.write(f"{hashlib.sha256(text.encode()).hexdigest()[:8]} {text}\n".encode())
        stream.write(b"\xff\x00" * 50_000 + b"\n" + archive.read_bytes()[:50])
    values = {"latency_ms": float("nan"), "bits_per_byte": float("inf"), "params": 10**400}
    row = json.loads(archive.read_bytes().split(b"\n")[0].partition(b" ")[2]) | {"values": values}
    line = json.dumps(row)
    with run.file("search/main/random.jsonl").open("ab") as stream:
        stream.write(f"{hashlib.sha256(line.encode()).hexdigest()[:8]} {line}\n".encode())
    run.file("summary.json").write_text("[" * 200_000)
    run.file("profile/card.json").write_text('{"score": {"mape": NaN, "tau": Infinity}, "cases": [1e999]}')
    run.file("profile/device.json").write_text('{"cpu": {"a": [1, {"b": 2}]}')


def _huge(root: Path) -> None:
    run = full_run(root / "huge", count=8)
    for name in ("profile/card.json", "supernet/log.jsonl", "supernet/weights.safetensors", "junk.bin", "run.json"):
        run.file(name).touch()
        os.truncate(run.file(name), 2**40)  # a sparse file: a terabyte that takes no room
    run.file("rank/evidence.json").unlink(missing_ok=True)
    os.mkfifo(run.file("rank/evidence.json"))
    for i in range(3000):
        run.file(f"retrain/{i}/result.json").write_text("{}")


@pytest.fixture(scope="module")
def served(root: Path, renderer: Renderer) -> Iterator[Served]:
    with serving(root, render=renderer) as started:
        yield started


def runs(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.is_symlink())


def test_the_list_has_every_run_and_runs_nothing_of_them(served: Served, root: Path) -> None:
    page = served.get("/")
    found = Elements(page)
    assert all(address(run) in page for run in runs(root)) and "4 runs" in page
    assert found.tags.count("script") == 1 and "img" not in found.tags and not found.runs
    assert "&lt;script&gt;" in page and SECRET not in page and "0.1230" not in page


def test_each_run_is_shown_and_only_our_scripts_run(served: Served, root: Path) -> None:
    for run in runs(root):
        page = served.get(f"{address(run)}/")
        found = Elements(page)
        assert found.tags.count("script") == 3 and "img" not in found.tags and not found.runs
        assert SECRET not in page
        found = Elements(served.get(f"{address(run)}/activity"))
        assert found.tags.count("script") == 1 and not found.runs


def test_every_payload_is_json_without_nan_and_its_html_is_escaped(served: Served, root: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for run in runs(root):
        text = served.get(f"{address(run)}/payload")
        found = json.loads(text, parse_constant=refuse)
        assert SECRET not in text and "<" not in text
        for html in found["sections"].values():
            elements = Elements(html)
            assert not {"script", "img"} & set(elements.tags) and not elements.runs


def test_what_is_left_out_is_said(served: Served, root: Path) -> None:
    def said(name: str) -> str:
        return served.get(f"{address(root / name)}/")

    assert said("leading").count("leads out of the run folder, left out") >= 4
    broken = said("broken")
    assert "search/main/archive.jsonl: damaged lines left out: 2" in broken and "summary.json: damaged" in broken
    huge = said("huge")
    for name in ("profile/card.json", "supernet/log.jsonl", "supernet/weights.safetensors", "run.json"):
        assert f"{name}: {2**40:,} bytes, left out" in huge
    assert "rank/evidence.json: not a plain file, left out" in huge
    assert "retrain/*/result.json: more than 2,000, the others are left out" in huge


def test_nothing_was_written_into_a_run(served: Served, root: Path) -> None:
    def content(run: Path) -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in run.rglob("*"))

    before = [content(run) for run in runs(root)]
    for run in runs(root):
        for rest in ("/", "/payload", "/activity"):
            served.get(address(run) + rest)
    assert [content(run) for run in runs(root)] == before


def test_the_server_does_not_grow_by_what_it_cannot_read(served: Served, root: Path) -> None:
    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    served.get("/")
    before = megabytes()
    for _ in range(3):
        for run in runs(root):
            served.get(f"{address(run)}/activity?part")
    assert megabytes() - before < 50
