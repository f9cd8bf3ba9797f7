from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas import tasks
from nas.data import DataConfig, Dataset, load
from nas.errors import ArchError, CheckpointError
from nas.run import Run
from nas.supernet import Supernet
from nas.train import TrainConfig, evaluate, load_supernet, train_supernet
from nas.train.batches import batch_index
from nas.train.checkpoint import STATE, WEIGHTS
from nas.train.distill import agreement, cosine_lr, distilled
from nas.train.loop import fit
from nas.train.plan import Alone, Sandwich
from nas.train.recipe import RecipeConfig
from nas.train.trainer import Trainer
from tests.spaces import raw, shipped

SANDWICH = RecipeConfig(teacher="largest", depth_draws=1, smallest_every=1)
QUICK = TrainConfig(steps=8, batch_size=8, threads=1, log_every=1, save_every_s=0.0)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataConfig(name="digits"))


def small_space() -> dict[str, Any]:
    values = raw("digits_tiny")
    values["stages"][0]["depth"] = [1, 2]
    return values


class Interrupted(Exception):
    pass


def weights(net: Supernet) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def trainer(data: Dataset, config: TrainConfig) -> Trainer:
    torch.manual_seed(0)
    space = shipped("digits_tiny")
    return Trainer(Supernet(space, data.shape), tasks.of(data), data.train, Sandwich(space, 0), config, 0)


def test_resumed_training_is_bitwise_the_uninterrupted_one(tmp_path: Path, digits: Dataset) -> None:
    whole = trainer(digits, QUICK)
    fit(whole, Run.at(tmp_path / "whole"), "supernet")

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            raise Interrupted

    broken = Run.at(tmp_path / "broken")
    with pytest.raises(Interrupted):
        fit(trainer(digits, QUICK), broken, "supernet", on_log=stop)
    resumed = trainer(digits, QUICK)
    fit(resumed, broken, "supernet")
    assert all(torch.equal(a, b) for a, b in zip(weights(whole.net), weights(resumed.net), strict=True))


def test_training_learns_and_a_second_call_returns_at_once(tmp_path: Path, digits: Dataset) -> None:
    run, config = Run.at(tmp_path), TrainConfig(steps=150, batch_size=32, threads=1, lr=1e-2, recipe=SANDWICH)
    space = small_space()
    space["stages"][0]["block"]["operators"] = {"softmax": {}, "depthwise": {"kernel_size": [3]}}
    net = train_supernet(run, space, digits, config, seed=0)
    task = tasks.of(digits)
    learned = evaluate(net, net.space.largest(), task, digits.val)
    assert learned > 0.5
    again = train_supernet(run, space, digits, config, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(weights(net), weights(again), strict=True))
    losses = [row["loss.largest"] for row in run.log("supernet/log.jsonl").rows()]
    assert losses[-1] < losses[0] / 1.5


def test_other_settings_in_the_same_run_are_refused(tmp_path: Path, digits: Dataset) -> None:
    run = Run.at(tmp_path)
    train_supernet(run, small_space(), digits, QUICK, seed=0)
    with pytest.raises(CheckpointError, match="seed: 0 -> 1"):
        train_supernet(run, small_space(), digits, QUICK, seed=1)


def test_a_space_that_does_not_fit_leaves_the_run_free(tmp_path: Path, digits: Dataset) -> None:
    run = Run.at(tmp_path)
    with pytest.raises(ArchError, match="space 'lm_tiny' is for domain 'causal' and the data is 'image'"):
        train_supernet(run, raw("lm_tiny"), digits, QUICK, seed=0)
    train_supernet(run, small_space(), digits, QUICK, seed=0)


def test_checkpoints_that_cannot_be_used_say_why(tmp_path: Path, digits: Dataset) -> None:
    run = Run.at(tmp_path)
    with pytest.raises(CheckpointError, match="no trained supernet"):
        load_supernet(run)
    train_supernet(run, small_space(), digits, QUICK, seed=0)
    with pytest.raises(CheckpointError, match="trained on space 'digits_tiny'.*ask for 'lm_tiny'"):
        load_supernet(run, shipped("lm_tiny"))
    for name in (WEIGHTS, STATE):
        (run.path / name).write_bytes((run.path / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_supernet(run)
    with pytest.raises(CheckpointError, match="damaged"):
        fit(trainer(digits, QUICK), run, "supernet")


def test_weights_of_an_earlier_meaning_are_refused(tmp_path: Path, digits: Dataset) -> None:
    run = Run.at(tmp_path)
    train_supernet(run, small_space(), digits, QUICK, seed=0)
    with safe_open(run.path / WEIGHTS, framework="pt") as stream:
        meta = {key: value for key, value in stream.metadata().items() if key != "format"}
    save_file(load_file(run.path / WEIGHTS), run.path / WEIGHTS, metadata=meta)
    with pytest.raises(CheckpointError, match="weights of format 1 and this version reads 3"):
        load_supernet(run)


def test_training_one_arch_equals_training_it_inside_a_space_of_its_own(digits: Dataset) -> None:
    space = shipped("digits_tiny")
    arch, task = space.smallest(), tasks.of(digits)
    torch.manual_seed(0)
    net = Supernet(space.only(arch), digits.shape)
    trained = Trainer(net, task, digits.train, Alone(arch), QUICK, 0)
    for step in range(4):
        trained.step(step)
    assert evaluate(net, arch, task, digits.val, batch_size=7) == evaluate(net, arch, task, digits.val, batch_size=64)


@pytest.mark.parametrize(("augment", "steps", "first", "varied"), [
    ("always", 10, 0.0, True), ("never", 10_000, 1.0, False), ("auto", 100, 0.0, False), ("auto", 10_000, 0.0, True),
    ("auto", 10, 0.5, True), ("auto", 10, 0.3, False)
])  # fmt: skip
def test_images_are_varied_where_each_is_seen_often_or_the_recipe_wants_it(
    digits: Dataset, augment: Any, steps: int, first: float, varied: bool
) -> None:
    recipe = RecipeConfig(varied_first=first)
    one = trainer(digits, TrainConfig(steps=steps, batch_size=16, threads=1, augment=augment, recipe=recipe))
    inputs, targets = one._batch(3)
    index = batch_index(len(digits.train), 16, one.seed, 3)
    plain, labels = tasks.of(digits).prepare(digits.train, index, torch.device("cpu"))
    assert torch.equal(targets, labels)
    assert torch.equal(inputs, plain) != varied


def test_bf16_training_stays_finite(digits: Dataset) -> None:
    figures = trainer(digits, TrainConfig(steps=4, batch_size=8, threads=1, precision="bf16")).step(0)
    assert all(value == value for value in figures.values())


def test_distillation_identities() -> None:
    torch.manual_seed(0)
    student = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(5, (6,))
    hard = torch.nn.functional.cross_entropy(student.float(), targets)
    assert torch.equal(distilled(student, targets, None, 0.5), hard)
    assert torch.equal(distilled(student, targets, torch.randn(6, 5), 0.0), hard)
    assert torch.allclose(distilled(student, targets, student.detach(), 1.0), torch.zeros(()), atol=1e-6)
    teacher = torch.randn(6, 5)
    distilled(student, targets, teacher, 1.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    expected = (student.detach().softmax(-1) - teacher.double().softmax(-1)) / len(student)
    assert torch.allclose(student.grad, expected, atol=1e-6)
    assert agreement(student, student) == 1.0


def test_schedules() -> None:
    recipe = RecipeConfig(distill_start=0.3, distill_weight=0.5)
    assert recipe.soft(29, 100) == 0 and recipe.soft(30, 100) == 0.5
    factors = [cosine_lr(step, 100, warmup=0.1) for step in range(100)]
    assert max(factors) == pytest.approx(1, abs=0.02) and factors[-1] == pytest.approx(0, abs=1e-3)
    assert factors[:9] == sorted(factors[:9]) and factors[11:] == sorted(factors[11:], reverse=True)
