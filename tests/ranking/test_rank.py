"""`nas rank` as a user runs it: killed, gone on with, repeated, and shared by another run."""

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
SHORT = ("rank.count=8", "rank.bins=2", "rank.steps=40", "rank.resamples=100", "train.save_every_s=0.0")


def results(table: Path) -> list[dict[str, Any]]:
    return [row for path in table.glob("*.jsonl") for row in Run.at(table).log(path.name).rows()]


def kill_after(args: list[str], table: Path, count: int) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "nas.cli", *args], stderr=subprocess.DEVNULL, env=env)
    deadline = time.monotonic() + 240
    while process.poll() is None and len(results(table)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, "it ended before it was killed"
    process.kill()
    process.wait()


def test_trainings_are_made_once_whoever_asks_for_them(tmp_path: Path) -> None:
    folder, table = tmp_path / "one", tmp_path / "standalone"
    trained = call("train", "experiment=digits", "train.steps=60", f"run.dir={folder}")
    assert trained.returncode == 0, trained.stderr
    args = ["rank", f"run.dir={folder}", *SHORT]
    kill_after(args, table, 5)
    before = results(table)
    assert 5 <= len(before) < 18 and not (folder / "rank/evidence.json").exists()
    result = call(*args)
    assert result.returncode == 0 and "Traceback" not in result.stderr and result.stdout == "", result.stderr
    after, shown = results(table), Run.at(folder).read_json("rank/trials/progress.json")
    assert after[: len(before)] == before, "what was there stays"
    # workers may outlive the killed process by a training
    assert shown["done"] == shown["total"] and 0 < shown["total"] <= 18 - len(before)
    assert len({(row["digest"], row["seed"]) for row in after}) == len(after) == 18, "nine nets, two seeds, none twice"
    steps = [json.loads(line.split(" ", 1)[1])["step"] for line in _one_log(table)]
    assert steps == sorted(set(steps)) and steps[-1] == 39
    found = json.loads((folder / "rank/evidence.json").read_text())
    assert found["overall"]["nets"] == 8 and found["steps"] == 40 and found["left_out"] == []
    rivals = ["params", "flops", "loss", "grad_norm", "snip", "synflow", "traits", "corrected"]
    assert [rival["name"] for rival in found["rivals"]] == rivals
    assert (
        "training alone again" in result.stderr and "rank" in json.loads((folder / "run.json").read_text())["command"]
    )
    started = time.monotonic()
    again = call("rank", f"run.dir={folder}")
    assert again.returncode == 0 and "left to do" not in again.stderr and time.monotonic() - started < 60
    assert "agreement among" in again.stderr and results(table) == after
    other = tmp_path / "two"  # another supernet, the same trainings
    assert (
        call("train", "experiment=digits", "train.steps=20", "train.recipe.share=none", f"run.dir={other}").returncode
        == 0
    )
    shared = call("rank", f"run.dir={other}", *SHORT, "rank.lr=1e-2")
    assert shared.returncode == 0 and "left to do" not in shared.stderr and results(table) == after, shared.stderr
    theirs = json.loads((other / "rank/evidence.json").read_text())
    assert theirs["asked"]["recipe"] == found["asked"]["recipe"]
    assert theirs["asked"]["supernet"] != found["asked"]["supernet"]
    assert [net["standalone"] for net in theirs["nets"]] == [net["standalone"] for net in found["nets"]]
    assert call("report", f"run.dir={other}").returncode == 0
    assert 'id="chart-ranking"' in (other / "report.html").read_text()


def _one_log(table: Path) -> list[str]:
    return next(iter(sorted(table.glob("*/*/log.jsonl")))).read_text().splitlines()


def test_it_needs_a_supernet_and_seeds(tmp_path: Path) -> None:
    for args, said in (
        ((), "no trained supernet"),
        (("rank.seeds=[0]",), "rank.seeds"),
        (("rank.count=3",), "8 or more"),
    ):
        result = call("rank", "experiment=digits", f"run.dir={tmp_path / 'x'}", *args)
        assert result.returncode == 2 and said in result.stderr and "Traceback" not in result.stderr, result.stderr


def test_a_search_by_standalone_scores_ranks_first(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    result = call(
        "run",
        "experiment=digits",
        f"run.dir={folder}",
        *SHORT,
        "rank.short_steps=10",
        "rank.short_start=inherited",
        "rank.landmarks=16",
        "train.steps=60",
        "profile.minutes=0.05",
        "search.objectives=[standalone,latency_ms]",
        "search.budget=30",
        "retrain.steps=10",
        "retrain.count=1",
        "export.formats=[pt2]",
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert result.stderr.index("inherited scores, corrected by") < result.stderr.index("search ")
    assert "inherited weights, trained on for 10 steps" in result.stderr
    found = json.loads((folder / "rank/evidence.json").read_text())
    assert len(found["landmarks"]) == 16 and all(len(net["standalone"]) == 1 for net in found["landmarks"])
    front = json.loads((folder / "search/main/front.json").read_text())
    assert front and all(0 <= row["measured"]["standalone"] < 1 for row in front)
    # a second call finds everything done
    again = call("run", f"run.dir={folder}")
    assert again.returncode == 0 and "left to do" not in again.stderr, again.stderr
