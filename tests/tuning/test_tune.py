"""`nas tune` as a user runs it: compared, killed, resumed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas.run import Run
from tests.command import call

pytestmark = pytest.mark.slow
OVER = "tune.over={search.strategy:[nsga2,random],search.seed:[0,1]}"
BUDGET = 150
LABELS = {f"strategy={strategy},seed={seed}" for strategy in ("nsga2", "random") for seed in (0, 1)}


def evaluated(folder: Path, name: str) -> dict[str, list[str]]:
    """Digests by trial."""
    logs = {path.parent.name: path for path in folder.glob(f"search/tune/{name}/*/archive.jsonl")}
    rows = {label: Run.at(path.parent).log(path.name).rows() for label, path in logs.items()}
    return {label: [row["digest"] for row in own if "values" in row] for label, own in rows.items()}


def kill_when(args: list[str], reached: Any) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "nas.cli", *args], stderr=subprocess.DEVNULL, env=env)
    deadline = time.monotonic() + 240
    while process.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.wait()


def table(folder: Path, name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "tune" / name / "table.json").read_text())
    return read


def test_searches_are_compared_although_they_were_killed(finished: Path) -> None:
    args = ["tune", f"run.dir={finished}", OVER, f"search.budget={BUDGET}", "search.first=12", "tune.name=killed"]
    kill_when(args, lambda: sum(map(len, evaluated(finished, "killed").values())) > 1.3 * BUDGET)
    before = evaluated(finished, "killed")
    assert sum(map(len, before.values())) < 4 * BUDGET
    result = call(*args)
    assert result.returncode == 0, result.stderr
    after = evaluated(finished, "killed")
    assert set(after) == LABELS and all(len(own) == len(set(own)) == BUDGET for own in after.values())
    assert all(after[label][: len(own)] == own for label, own in before.items()), "what was there stays"
    assert Run.at(finished).read_json("tune/killed/progress.json") == {"done": 4, "total": 4}
    found = table(finished, "killed")
    assert {row["combination"] for row in found["rows"]} == {"strategy=nsga2", "strategy=random"}
    assert all(row["trials"] == 2 and 0 < row["first"]["mean"] <= row["end"]["mean"] <= 1 for row in found["rows"])
    assert found["failed"] == [] and "to random's end" in result.stderr
    assert "│" not in result.stdout + result.stderr and "Traceback" not in result.stderr and result.stdout == ""
    started = time.monotonic()
    again = call(*args)
    assert again.returncode == 0 and evaluated(finished, "killed") == after and time.monotonic() - started < 60
    other = call("tune", f"run.dir={finished}", "tune.over={search.strategy:[nsga2]}", "tune.name=killed")
    assert other.returncode == 2 and "4 trials then, 1 now" in other.stderr and "tune.name=other" in other.stderr


def test_retrainings_are_stopped_early_and_go_on_after_a_kill(finished: Path) -> None:
    front = json.loads((finished / "search/main/front.json").read_text())
    archs = [row["digest"] for row in front][:3]
    args = ["tune", f"run.dir={finished}", "tune.job=retrain", "tune.name=alone", f"tune.archs=[{','.join(archs)}]"]
    args += ["tune.over={run.seed:[0,1]}", "retrain.steps=60", "train.log_every=1", "tune.max_concurrent=2"]
    folder = finished / "tune/alone"
    kill_when(args, lambda: len(list(folder.glob("*/val.jsonl"))) >= 3)
    result = call(*args)
    assert result.returncode == 0, result.stderr
    rows = {path.parent.name: Run.at(path.parent).log(path.name).rows() for path in folder.glob("*/val.jsonl")}
    assert set(rows) == {f"arch={digest},seed={seed}" for digest in archs for seed in (0, 1)}
    marks = [[row["mark"] for row in own] for own in rows.values()]
    assert all(own == [0.25, 0.5, 1.0][: len(own)] for own in marks), "no mark twice"
    for label in rows:
        steps = [row["step"] for row in Run.at(folder / label / "alone").log("log.jsonl").rows()]
        assert steps[-1] + 1 == rows[label][-1]["mark"] * 60
    found = table(finished, "alone")
    assert sum(row["trials"] for row in found["rows"]) == 6 and found["failed"] == []
    assert 0 < sum(row["stopped"] for row in found["rows"]) < 6
    assert not list(finished.glob("tune/alone/*/result.json")), "the test split is for the final table only"


def test_a_trial_that_fails_is_listed_with_its_reason(finished: Path) -> None:
    name = "search/tune/odd/seed=1/asked.json"
    Run.at(finished).write_json(name, {"strategy": "another"})
    args = ["tune", f"run.dir={finished}", "tune.over={search.seed:[0,1]}", "search.budget=30", "tune.name=odd"]
    args += ["search.strategy=random", "tune.ray.retries=0"]
    result = call(*args)
    assert result.returncode == 0 and "failed    seed=1: CheckpointError: " in result.stderr, result.stderr
    assert [row["trial"] for row in table(finished, "odd")["failed"]] == ["seed=1"]
    (finished / name).unlink()
    again = call("tune", f"run.dir={finished}", "tune.name=odd")  # a tuning remembers what it was given
    assert again.returncode == 0 and table(finished, "odd")["failed"] == [], again.stderr
    said = (finished / "run.json").read_text()
    assert "tune." not in said and "search.strategy=random" not in said, "and the run's own stages do not"
    assert table(finished, "odd")["rows"][0]["trials"] == 2
