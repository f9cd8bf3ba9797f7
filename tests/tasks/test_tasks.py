"""Tasks: ready tensors, losses and metrics that add up, against answers worked out by hand."""

import dataclasses
import math
import pickle

import pytest
import torch
import torch.nn.functional as F

from nas import data, tasks
from nas.data import DataConfig

CPU = torch.device("cpu")
CONFIGS = {
    "digits": DataConfig(name="digits", val_share=0.2),
    "text": DataConfig(name="text", seq_len=63, val_share=0.05, train_size=200, val_size=10, test_size=10),
    "recall": DataConfig(name="recall", seq_len=17, vocab=64, pairs=4, examples=100),
}
METRICS = {
    "digits": ("accuracy", "maximise"),
    "text": ("bits_per_byte", "minimise"),
    "recall": ("accuracy", "maximise"),
}


@pytest.fixture(scope="module")
def datasets() -> dict[str, data.Dataset]:
    return {name: data.load(config) for name, config in CONFIGS.items()}


def batch(dataset: data.Dataset, task: tasks.Task, count: int = 13) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    inputs, targets = task.prepare(dataset.train, torch.arange(count), CPU)
    logits = torch.randn(*targets.shape, dataset.shape.classes, generator=torch.Generator().manual_seed(1))
    return inputs, targets, logits


@pytest.mark.parametrize("name", CONFIGS)
def test_contract_of_every_task(name: str, datasets: dict[str, data.Dataset]) -> None:
    dataset = datasets[name]
    task = tasks.of(dataset)
    assert task.shape == dataset.shape
    assert (task.metric.name, task.metric.direction) == METRICS[name]
    assert pickle.loads(pickle.dumps(task)) == task
    _, targets, logits = batch(dataset, task)
    rows, answers = task.flatten(logits, targets)
    assert targets.dtype == torch.int64
    assert rows.shape == (int(task.distill_mask(targets).sum()), dataset.shape.classes)
    assert torch.allclose(task.loss(logits, targets), F.cross_entropy(rows, answers))


@pytest.mark.parametrize("name", CONFIGS)
def test_metric_adds_up_over_uneven_batches(name: str, datasets: dict[str, data.Dataset]) -> None:
    dataset = datasets[name]
    task = tasks.of(dataset)
    _, targets, logits = batch(dataset, task)
    whole = task.finish(*task.tally(logits, targets))
    parts = [task.tally(logits[piece], targets[piece]) for piece in (slice(0, 5), slice(5, 6), slice(6, 13))]
    pieced = task.finish(sum(part[0] for part in parts), sum(part[1] for part in parts))
    assert pieced == pytest.approx(whole, rel=1e-12)
    assert math.isnan(task.finish(0.0, 0))


@pytest.mark.parametrize("name", ["digits", "recall"])
def test_perfect_answers_score_one(name: str, datasets: dict[str, data.Dataset]) -> None:
    dataset = datasets[name]
    task = tasks.of(dataset)
    _, targets, logits = batch(dataset, task)
    right = F.one_hot(targets.clamp(min=0), logits.shape[-1]).float()
    assert task.finish(*task.tally(right, targets)) == 1.0
    assert task.finish(*task.tally(-right, targets)) == 0.0


def test_uniform_logits_need_eight_bits_per_byte(datasets: dict[str, data.Dataset]) -> None:
    task = tasks.of(datasets["text"])
    _, targets, logits = batch(datasets["text"], task)
    assert task.finish(*task.tally(torch.zeros_like(logits), targets)) == pytest.approx(8.0, rel=1e-6)


def test_only_asked_positions_count_in_recall(datasets: dict[str, data.Dataset]) -> None:
    task = tasks.of(datasets["recall"])
    _, targets, logits = batch(datasets["recall"], task)
    mask = task.distill_mask(targets)
    changed = torch.where(mask[..., None], logits, torch.full_like(logits, 9.0))
    assert mask.sum(1).tolist() == [4] * 13
    assert task.tally(changed, targets) == task.tally(logits, targets)
    assert torch.equal(task.loss(changed, targets), task.loss(logits, targets))


def test_images_are_normalised_by_train(datasets: dict[str, data.Dataset]) -> None:
    dataset = datasets["digits"]
    inputs, _ = tasks.of(dataset).prepare(dataset.train, torch.arange(len(dataset.train)), CPU)
    assert inputs.dtype == torch.float32
    assert abs(float(inputs.mean())) < 1e-4
    assert float(inputs.std()) == pytest.approx(1.0, abs=1e-3)


def test_constant_images_stay_finite(datasets: dict[str, data.Dataset]) -> None:
    dataset = datasets["digits"]
    blank = data.Examples(torch.full_like(dataset.train.inputs, 7), dataset.train.targets)
    inputs, _ = tasks.of(dataclasses.replace(dataset, train=blank)).prepare(blank, torch.arange(3), CPU)
    assert torch.equal(inputs, torch.zeros(3, 1, 8, 8))


def test_augmented_images_are_shifts_of_themselves(datasets: dict[str, data.Dataset]) -> None:
    task = tasks.of(datasets["digits"])
    inputs = torch.arange(40 * 2 * 8 * 8).reshape(40, 2, 8, 8).float()
    moved = task.augment(inputs, torch.Generator().manual_seed(0))
    padded = F.pad(inputs, (1, 1, 1, 1), mode="replicate")
    seen = set()
    for source, result in zip(padded, moved, strict=True):
        fits = [(y, x) for y in range(3) for x in range(3) if torch.equal(source[:, y : y + 8, x : x + 8], result)]
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 9
    assert torch.equal(moved, task.augment(inputs, torch.Generator().manual_seed(0)))


def test_mirroring_only_where_the_class_survives(datasets: dict[str, data.Dataset]) -> None:
    ramp = torch.arange(28.0).expand(64, 1, 28, 28).contiguous()
    digits = datasets["digits"]
    for is_mirrorable in (False, True):
        task = tasks.of(dataclasses.replace(digits, is_mirrorable=is_mirrorable))
        result = task.augment(ramp, torch.Generator().manual_seed(0))
        falling = result[:, 0, 0, 0] > result[:, 0, 0, -1]
        assert (10 < int(falling.sum()) < 54) == is_mirrorable
        assert is_mirrorable or not falling.any()


def test_text_is_left_as_it_is(datasets: dict[str, data.Dataset]) -> None:
    task = tasks.of(datasets["text"])
    inputs, targets, _ = batch(datasets["text"], task)
    assert task.augment(inputs, torch.Generator()) is inputs
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
