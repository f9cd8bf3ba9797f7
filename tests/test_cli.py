import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hatchling.builders.wheel import WheelBuilder

import nas
from nas.arch import Arch
from nas.cli import main
from nas.resources import CONF, ROOT
from nas.run import Run
from nas.settings import SECTIONS
from tests.command import call
from tests.spaces import names


def test_one_command_leaves_everything_a_user_needs(finished: Path) -> None:
    front = json.loads((finished / "search/main/front.json").read_text())
    kept = [row for row in front if row["is_front"]]
    assert kept and all(row["measured"]["latency_ms"] > 0 for row in kept)
    results = [json.loads(path.read_text()) for path in finished.glob("retrain/*/result.json")]
    assert len(results) == 1 and 0 <= results[0]["test"] <= 1
    summary = json.loads((finished / "summary.json").read_text())
    stages = ("train", "profile", "fit", "search", "retrain", "export")
    assert all(summary[f"stage.{stage}.seconds"] > 0 for stage in stages)
    assert summary["search.duplicates"] == 0 and summary["search.evaluations"] == 30
    assert summary["predictor.held_out"] >= 2
    page = (finished / "report.html").read_text()
    assert all(row["digest"] in page for row in kept)


def test_an_exported_winner_loads_in_two_lines(finished: Path) -> None:
    folder = next((finished / "export").iterdir())
    assert json.loads((folder / "card.json").read_text())["latency"]["latency_ms"] > 0
    net = nas.load(folder)
    assert net(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "model.json", "model.onnx", "model.pt2"}


def test_a_finished_run_does_nothing_again(finished: Path) -> None:
    watched = [finished / "supernet/weights.safetensors", finished / "search/main/archive.jsonl"]
    before = [path.read_bytes() for path in watched]
    result = call("search", f"run.dir={finished}")  # the run folder remembers everything else it was given
    assert result.returncode == 0, result.stderr
    assert [path.read_bytes() for path in watched] == before


def test_report_as_text_needs_no_more_than_the_folder(finished: Path) -> None:
    result = call("report", "--text", f"run.dir={finished}")
    assert result.returncode == 0 and "search.front.size" in result.stdout
    assert "predictor.mape" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["serch"], "a stage must be one of"),
        (["train", "search_spaces=nope"], "digits_tiny"),
        (["train", "train.stpes=3"], "stpes"),
        (["train", "+train.stpes=3"], "train.stpes: no such setting"),
        (["train", "train.steps=many"], "train.steps: .*integer.*'many'"),
        (["train", "search_spaces=vit_small"], "for domain 'image' and the data is 'causal'"),
        (["train", "data=cifar10", "data.path=/nowhere"], "CIFAR-10 is read from"),
        (["train", "space=mine.yaml"], "what a space file contains, got 'mine.yaml'.*--config-dir"),
        (["train", "experiment=digits", "+space.stages.0.block.operators.decayed={}"], "decayed.*not legal in domain"),
        (["train", "experiment=digits", "+space.stages.0.block.operators.softmax.window=[3]"], "unknown window"),
        (["search"], "no trained supernet"),
        (
            ["run", "experiment=digits", "retrain.references=[levit_like]"],
            "retrain.references: .*levit_like: it needs 2",
        ),
        (["retrain", "retrain.seeds=[1,1]"], "retrain.seeds: |retrain.*seeds must be different numbers"),
        (["run", "profile.runtime=tensorrt"], "profile.runtime must be one of .*onnxruntime.*got 'tensorrt'"),
        (["run", "profile.runtime=command", "profile.command='no-such-program {model}'"], "no-such-program.*not found"),
        (["run", "profile.runtime=cuda_graph"], "needs profile.device=cuda"),
        (
            ["profile", "profile.dtype=bfloat16", "profile.runtime=onnxruntime"],
            "runs float32, got.*change profile.dtype",
        ),
    ],
)
def test_wrong_input_is_one_paragraph_before_long_work(args: list[str], message: str, tmp_path: Path) -> None:
    result = call(*args, *(["run.dir=" + str(tmp_path / "x")] if len(args) else []))
    assert result.returncode != 0
    text = result.stderr + result.stdout
    assert "Traceback" not in text, text
    assert re.search(message, text, flags=re.DOTALL), text


def test_wrong_input_on_a_finished_run(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    for args, message in (
        (["search", "constraints.latency_ms=1e-6", "search.name=tight"], "cheapest"),
        (["search", "search_spaces=pyramid_small"], "trained on space 'digits_tiny'"),
        (["search", "search.strategy=annealing", "search.name=other"], "surrogate"),
        (["search", "search.seed=9"], "search.name"),
        (["search", "search.objectives=[beauty]", "search.name=o"], "beauty"),
        (["search", "search.objectives=[loss]", "search.name=o"], "two or more"),  # the name is still free
        (["rank", "rank.short_steps=9999"], "rank.short_steps must be fewer than"),
        (["retrain", "retrain.archs=[0123]"], "retrain.archs must be archs that search main evaluated"),
        (["fit", "profile.threads=2"], "a latency predictor needs measurements of this device"),
        (["fit", "profile.batch=3"], "other workloads (shape, batch, phase)"),
        (["profile", "profile.phase=decode"], "are for token tasks, these are images"),
        (["profile", "predict.base=nowhere.json"], "predict.base must be a table that `nas fit` kept"),
        (["retrain", "retrain.steps=6"], "was retrained with other settings (steps 5)"),
        (
            ["retrain", "retrain.teacher=largest"],
            "was retrained with other settings (teacher none, distill_weight None)",
        ),
        (
            ["retrain", "retrain.references=[resnet]"],
            "all_linear, all_softmax, all_window, uniform_half, uniform_quarter",
        ),
        (["tune", "tune.job=retrain", "tune.over={retrain.seeds:[[0],[1]]}"], "vary run.seed"),
        (
            ["tune", "tune.over={search.strategy:[annealing]}"],
            "strategy=annealing cannot be done: search.strategy: a strategy must be",
        ),
        (["rank", "rank.seeds=[0]"], "rank.seeds: seeds must be 2 or more different ones"),
        (["tune", "tune.over={profile.threads:[1,2]}"], "threads=2 cannot be done: a latency predictor needs measure"),
        (["tune", "tune.over={search.budget:[9,many]}"], "budget=many cannot be done: search.budget: "),
        (["tune", "tune.over={constraints.latency_ms:[1e-6]}"], "cheapest"),
        (["tune", "tune.over={search.stategy:[random]}"], "search.stategy is none: see `nas tune --cfg job`"),
        (["tune", "tune.job=retrain", "tune.archs=[0123]"], "tune.archs must be of the front"),
        (["tune", "tune.job=retrain", "tune.over={retrain.lr:[1e-3,-1]}"], "lr=-1 cannot be done: retrain.lr: "),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*args, f"run.dir={finished}"])
        said = "".join(capsys.readouterr())
        assert stop.value.code == 2 and message in said and "Traceback" not in said, said
    recorded = json.loads((finished / "run.json").read_text())["overrides"]
    assert not any("latency_ms" in override for override in recorded), "refused settings must not stick to the run"


def test_a_mistyped_run_folder_is_not_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["rank", f"run.dir={tmp_path / 'rnus'}"])
    assert stop.value.code == 2 and "has no trained supernet" in "".join(capsys.readouterr())
    assert not (tmp_path / "rnus").exists()


def test_terminated_training_resumes(tmp_path: Path) -> None:
    args = [sys.executable, "-m", "nas.cli", "train", "experiment=digits", f"run.dir={tmp_path / 'r'}"]
    args += ["train.steps=4000", "train.save_every_s=0.0"]
    process = subprocess.Popen(args, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    state = tmp_path / "r/supernet/state.pt"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "go on with: nas train" in said, said
    assert torch.load(state, weights_only=True)["step"] > 0


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [row for row in Run.at(folder).log(f"search/{name}/archive.jsonl").rows() if "arch" in row]


@pytest.mark.slow
def test_a_search_killed_five_times_ends_with_the_same_archive(finished: Path) -> None:
    common = [f"run.dir={finished}", "search.budget=90", "search.workers=0", "search.random_share=0.0"]
    assert call("search", *common, "search.name=whole").returncode == 0
    rng = random.Random(0)
    for _ in range(5):
        goal = len(rows(finished, "killed")) + rng.randrange(3, 14)
        args = [sys.executable, "-m", "nas.cli", "search", *common, "search.name=killed"]
        process = subprocess.Popen(args, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while process.poll() is None and len(rows(finished, "killed")) < goal:
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert 15 < len(rows(finished, "killed")) < 90
    assert call("search", *common, "search.name=killed").returncode == 0
    whole, killed = rows(finished, "whole"), rows(finished, "killed")
    assert [(row["digest"], row["values"]) for row in killed] == [(row["digest"], row["values"]) for row in whole]
    assert len({row["digest"] for row in killed}) == len(killed) == 90


def test_help_is_fast_to_import_and_names_every_stage() -> None:
    result = call("--help")
    assert result.returncode == 0
    stages = ("train", "profile", "fit", "search", "retrain", "export", "report", "tune", "rank")
    assert all(stage in result.stdout for stage in stages)
    heavy = "import sys; import nas, nas.cli; sys.exit(bool({'torch', 'ray', 'optuna', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0


@pytest.mark.parametrize("choice", [f"search_spaces={name}" for name in names()])
def test_every_space_composes(choice: str) -> None:
    assert call("train", choice, "--cfg", "job").returncode == 0


@pytest.mark.parametrize("group", ["data", "experiment"])
def test_every_choice_composes(group: str) -> None:
    for path in sorted((CONF / group).glob("*.yaml")):
        extra = ["data.path=/x"] if group == "data" else []
        result = call("train", f"{group}={path.stem}", *extra, "--cfg", "job")
        assert result.returncode == 0, result.stderr


def test_the_configuration_shows_every_setting() -> None:
    shown = yaml.safe_load((CONF / "nas.yaml").read_text())
    for section, kind in SECTIONS.items():
        fields = {field.name for field in dataclasses.fields(kind)} - {"timer", "folds", "min_rows", "margin"}
        given = set(shown[section]) | ({"name"} if section == "data" else set())
        assert fields <= given, (section, fields - given)


def test_presets_are_no_search_spaces() -> None:
    result = call("train", "search_spaces=nope")
    assert "lm_tiny" in result.stderr and "all_softmax" not in result.stderr and "presets" not in result.stderr


def test_completion_knows_settings_behind_a_stage() -> None:
    line = "nas train search_spaces=lm"
    result = call("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)), COMP_CWORD="2")
    assert "search_spaces=lm_tiny" in result.stdout, result.stderr


def test_the_wheel_finds_its_configuration_from_anywhere(tmp_path: Path) -> None:
    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    unpacked = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, str(unpacked)], check=True)
    result = call("train", "search_spaces=lm_small", "--cfg", "job", cwd=Path("/"), PYTHONPATH=str(unpacked))
    assert result.returncode == 0 and "lm_small" in result.stdout, result.stderr
    refused = ["retrain", "experiment=digits", "retrain.references=[resnet]", f"run.dir={tmp_path / 'run'}"]
    assert "all_softmax" in call(*refused, cwd=Path("/"), PYTHONPATH=str(unpacked)).stderr
    where = subprocess.run(
        [sys.executable, "-c", "import nas; print(nas.__file__)"],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(unpacked))
    assert {path.name for path in unpacked.iterdir() if path.is_dir() and "dist-info" not in path.name} == {"nas"}


def test_the_front_survives_a_round_trip(finished: Path) -> None:
    for row in json.loads((finished / "search/main/front.json").read_text()):
        assert Arch.from_dict(row["arch"]).digest == row["digest"]
