import importlib
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas import tasks
from nas.arch import Arch
from nas.config import load as read
from nas.data import DataConfig, Dataset, load
from nas.data.contract import Examples
from nas.errors import CheckpointError, ConfigError
from nas.run import Run
from nas.supernet import Supernet
from nas.train import RetrainConfig, TrainConfig, evaluate, load_retrained, retrain, standalone
from nas.train.checkpoint import save_supernet
from nas.train.distill import distilled
from nas.train.standalone import check_asked, pooled
from tests.spaces import raw, shipped

module: Any = importlib.import_module("nas.train.standalone")  # the package has the function of that name

QUICK = TrainConfig(steps=8, batch_size=8, threads=1, log_every=1, save_every_s=0.0)
SHORT = RetrainConfig(steps=3)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load(DataConfig(name="digits"))
    return replace(whole, val=part(whole.val, 64), held_out=part(whole.test, 48))


@pytest.fixture(scope="module")
def net(digits: Dataset) -> Supernet:
    torch.manual_seed(0)
    return Supernet(shipped("digits_tiny"), digits.shape).eval()


@pytest.fixture
def arch(net: Supernet) -> Arch:
    return net.space.anchors()["linear"]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch, digits: Dataset) -> list[str]:
    """The splits that were read, in order."""
    seen: list[str] = []

    def watched(net: Supernet, arch: Arch, task: Any, examples: Examples, **more: Any) -> float:
        seen.append("test" if examples is digits.test else "val")
        return evaluate(net, arch, task, examples, **more)

    monkeypatch.setattr(module, "evaluate", watched)
    return seen


def part(examples: Examples, count: int) -> Examples:
    return Examples(examples.inputs[:count], examples.targets[:count])


@pytest.mark.parametrize("start", ["scratch", "inherited"])
def test_a_retrained_network_is_kept(tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset, start: Any) -> None:
    run = Run.at(tmp_path)
    config = RetrainConfig(start=start, steps=4)
    result = retrain(run, net, arch, digits, config, QUICK, seeds=[0])
    assert run.read_json(f"retrain/{arch.digest}/result.json") == result
    assert (result["start"], result["teacher"], result["steps"], result["seeds"]) == (start, "none", 4, [0])
    assert result["val_std"] is None and result["lr"] == pytest.approx(QUICK.lr * (0.3 if start == "inherited" else 1))
    kept = load_retrained(run, net, arch)
    assert kept is not None
    assert evaluate(kept, arch, tasks.of(digits), digits.val) == result["val"]
    assert load_retrained(run, net, net.space.largest()) is None


def test_seeds_give_mean_and_spread_and_the_best_is_loaded(
    tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset
) -> None:
    run = Run.at(tmp_path)
    config = RetrainConfig(start="scratch", steps=8, lr=1e-2)
    result = retrain(run, net, arch, digits, config, QUICK, seeds=[0, 1, 2])
    rows = result["runs"]
    assert [row["seed"] for row in rows] == result["seeds"] == [0, 1, 2]
    for split in ("val", "test"):
        values = [row[split] for row in rows]
        assert result[split] == pytest.approx(statistics.fmean(values))
        assert result[f"{split}_std"] == pytest.approx(statistics.stdev(values))
    assert len({row["val"] for row in rows}) > 1, "seeds must matter"
    best = max(rows, key=lambda row: row["val"])
    assert result["best_seed"] == best["seed"]
    kept = load_retrained(run, net, arch)
    assert kept is not None and evaluate(kept, arch, tasks.of(digits), digits.val) == best["val"]


def test_the_best_seed_follows_the_direction_of_the_metric() -> None:
    rows = [{"seed": 3, "val": 1.0, "test": 5.0}, {"seed": 4, "val": 2.0, "test": 1.0}]
    assert pooled(rows, is_maximised=True)["best_seed"] == 4
    assert pooled(rows, is_maximised=False)["best_seed"] == 3


def test_finished_seeds_are_not_repeated_and_test_is_read_once_for_each(
    tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset, scored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trained = Run.at(tmp_path), []
    monkeypatch.setattr(module, "standalone", lambda *a, **k: trained.append(k["seed"]) or standalone(*a, **k))
    first = retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1])
    assert scored.count("test") == 2
    assert retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1]) == first
    assert scored.count("test") == 2 and trained == [0, 1]
    more = retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1, 2])
    assert trained == [0, 1, 2] and scored.count("test") == 3
    assert more["seeds"] == [0, 1, 2] and more["runs"][:2] == first["runs"]


def test_a_killed_retraining_goes_on_in_the_middle_of_a_seed(
    tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = retrain(Run.at(tmp_path / "whole"), net, arch, digits, SHORT, QUICK, seeds=[0, 1])
    run, steps = Run.at(tmp_path / "killed"), []
    plain = module.Trainer.step

    def step(self: Any, number: int) -> Any:
        steps.append((self.seed, number))
        if len(steps) == 5:  # in the middle of the second seed
            raise KeyboardInterrupt
        return plain(self, number)

    monkeypatch.setattr(module.Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1])
    assert not (run.path / f"retrain/{arch.digest}/result.json").exists()
    again = retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1])
    assert again == whole
    assert steps == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize("other", [{"start": "scratch"}, {"steps": 4}, {"teacher": "largest"}, {"lr": 0.5}])
def test_other_settings_are_refused_even_for_an_unfinished_retraining(
    tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.at(tmp_path)
    asked = module.asked_of(run, digits, SHORT, QUICK)
    run.write_json(f"retrain/{arch.digest}/asked.json", asked)
    check_asked(run, arch, asked)
    changed = module.asked_of(run, digits, replace(SHORT, **other), QUICK)
    with pytest.raises(CheckpointError, match=rf"other settings \(.*{next(iter(other))} .*: delete .*{arch.digest}"):
        check_asked(run, arch, changed)
    with pytest.raises(CheckpointError, match="drop the override"):
        retrain(run, net, arch, digits, replace(SHORT, **other), QUICK, seeds=[0])


def test_other_data_or_another_supernet_is_refused(tmp_path: Path, net: Supernet, arch: Arch, digits: Dataset) -> None:
    run = Run.at(tmp_path)
    save_supernet(run, net, raw("digits_tiny"))
    retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0])
    with pytest.raises(CheckpointError, match=f"other settings .data {digits.digest}"):
        retrain(run, net, arch, replace(digits, digest="other"), SHORT, QUICK, seeds=[0, 1])
    save_supernet(run, Supernet(net.space, digits.shape), raw("digits_tiny"))
    with pytest.raises(CheckpointError, match="other settings .supernet "):
        retrain(run, net, arch, digits, SHORT, QUICK, seeds=[0, 1])


def test_the_teacher_is_mixed_into_the_loss(net: Supernet, arch: Arch, digits: Dataset) -> None:
    config = RetrainConfig(teacher="largest", distill_weight=0.25, steps=3)
    trainer = standalone(net, arch, digits, config, QUICK, seed=5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inputs, targets = trainer._batch(0)
    with torch.no_grad():
        rows, wanted = trainer.task.flatten(trainer.net(inputs, arch), targets)
        soft = trainer.task.flatten(net(inputs, net.space.largest()), targets)[0]
    figures = trainer.step(0)
    assert figures["loss.largest"] == pytest.approx(float(distilled(rows, wanted, soft, 0.25)), rel=1e-5)
    alone = standalone(net, arch, digits, replace(config, teacher="none"), QUICK, seed=5).step(0)
    assert alone["loss.largest"] == pytest.approx(float(distilled(rows, wanted, None, 0.0)), rel=1e-5)
    assert alone["loss.largest"] != pytest.approx(figures["loss.largest"], rel=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "the teacher is frozen"
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_teacher_without_weight_changes_nothing(net: Supernet, arch: Arch, digits: Dataset) -> None:
    weightless = RetrainConfig(teacher="largest", distill_weight=0.0, steps=3)
    losses = [
        standalone(net, arch, digits, config, QUICK, seed=1).step(0)["loss.largest"]
        for config in (weightless, replace(weightless, teacher="none"))
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_must_be_different_numbers(seeds: list[int]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        read(RetrainConfig, {"seeds": seeds})
