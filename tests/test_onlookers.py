"""Stages told to all who asked, from the logs of a run folder."""

import random
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas import onlookers
from nas.job import Job
from nas.onlookers import layers, looking_on
from nas.report.read import read
from nas.run import Run
from nas.searching.objectives import Objective
from nas.searching.problem import Problem
from nas.space import ArchSpace
from tests.report.synthetic import HOSTILE, evaluations, full_run, hostile_run
from tests.spaces import shipped


class Told:
    """Stands for an open run on W&B and keeps what it is told."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {"steps": [], "evaluations": []}

    def steps(self, rows: Any) -> None:
        self.kept["steps"] += rows

    def evaluations(self, rows: Any) -> None:
        self.kept["evaluations"] += [row for row in rows if "values" in row]

    def figures(self, found: Any) -> None:
        self.kept["figures"] = found

    def table(self, name: str, columns: Any, rows: Any) -> None:
        self.kept[name] = (columns, rows)

    def page(self, name: str, html: str) -> None:
        self.kept[name] = html

    def artifact(self, name: str, files: Any) -> None:
        self.kept[name] = files


def job(run: Run, **asked: Any) -> Job:
    settings: Any = SimpleNamespace(
        run=SimpleNamespace(**{"wandb": "off", "mirror": (), **asked}), search=SimpleNamespace(name="main"), plain={}
    )
    made = Job(run, settings)
    objectives = (Objective("bits_per_byte"), Objective("latency_ms"))
    made.__dict__["problem"] = Problem(ArchSpace(shipped("lm_tiny")), objectives)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return full_run(tmp_path / "run", count=8)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    double = Told()

    class Tracker:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Told:
            return double

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(onlookers, "tracker", Tracker)
    return double


def test_unless_asked_for_a_stage_leaves_nothing_behind(run: Run) -> None:
    before = sorted(run.path.rglob("*"))
    for stage in ("train", "search", "retrain", "export"):
        with looking_on(stage, job(run)):
            pass
    assert sorted(run.path.rglob("*")) == before


def test_a_search_is_mirrored_while_it_goes_on(run: Run) -> None:
    known = {row["digest"] for row in run.log("search/main/archive.jsonl").rows()}
    more = next(row for row in evaluations(20, random.Random(99), "x") if row["digest"] not in known)
    with looking_on("search", job(run, mirror=("optuna", "tensorboard"))):
        run.log("search/main/archive.jsonl").append(more)
    storage = JournalStorage(JournalFileBackend(str(run.path / "search/main/optuna.log")))
    digests = [trial.user_attrs["digest"] for trial in optuna.load_study(study_name="main", storage=storage).trials]
    assert set(digests) == known | {more["digest"]} and digests[-1] == more["digest"]
    assert list((run.path / "tensorboard/search_main").iterdir())


def test_a_training_is_mirrored_but_is_no_study(run: Run) -> None:
    with looking_on("train", job(run, mirror=("optuna", "tensorboard"))):
        pass
    assert list((run.path / "tensorboard/train").iterdir())
    assert not (run.path / "search/main/optuna.log").exists()


def test_a_search_tells_its_evaluations_front_layers_and_archs(run: Run, told: Told) -> None:
    with looking_on("search", job(run)):
        pass
    record = read(run)
    assert len(told.kept["evaluations"]) == 8
    columns, rows = told.kept["front"]
    assert len(rows) == len(record.front) and len(columns) == len(rows[0]) and "bits_per_byte" in columns
    assert {f"{point.arch.digest}.json" for point in record.front} == set(told.kept["main-front"])
    assert told.kept["figures"]["search.front.size"] == len(record.front)
    assert all(point.arch.digest in told.kept["layers"] for point in record.front)


def test_a_training_tells_its_steps_and_a_retraining_its_winners(run: Run, told: Told) -> None:
    with looking_on("train", job(run)), looking_on("retrain", job(run)):
        pass
    assert len(told.kept["steps"]) == 30
    assert set(told.kept["winners"]) == {f"{path.name}.json" for path in (run.path / "retrain").iterdir()}


def test_a_stage_that_fails_tells_no_result(run: Run, told: Told) -> None:
    with pytest.raises(ValueError), looking_on("search", job(run)):
        raise ValueError
    assert set(told.kept) == {"steps", "evaluations"}


def test_layers_run_nothing(tmp_path: Path) -> None:
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    html = layers(read(hostile_run(tmp_path)))
    Tags().feed(html)
    assert HOSTILE not in html and "figure" in tags and not {"script", "img"} & set(tags)
