import random
from collections.abc import Callable

import numpy as np
import pytest

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.predict import PredictConfig, fit_predictor, plan_transfer, transfer
from nas.predict.features import PartFeatures
from nas.predict.learned import Corrected
from nas.profiling.parts import Part, arch_parts, space_parts
from nas.profiling.table import Row
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, sample
from tests.predict.tables import costed, row, table
from tests.spaces import FASHION, shipped

SHORT, LONG = (TokenShape(vocab=256, tokens=n, classes=256, is_causal=True) for n in (128, 256))
LARGE = ImageShape(channels=1, height=56, width=56, classes=10)
VIT, LM = shipped("vit_small"), shipped("lm_small")
Law = Callable[[Part], float]


def elsewhere(space: SearchSpace, shape: TaskShape, seed: int) -> Law:
    """Each group up to two and a half times as fast as before, and an overhead for each part."""
    here, draw = costed(space, shape), random.Random(seed)
    speed = {group: draw.uniform(0.4, 1.2) for group in sorted({part.group for part in space_parts(space)})}
    overhead = draw.uniform(0.0, 0.1)
    return lambda part: here(part) * speed[part.group] + overhead


def batched(space: SearchSpace, shape: TaskShape, batch: int) -> Law:
    features = PartFeatures.of(space, shape, batch)
    return lambda part: float(features.common(part) @ [0.1, 0.02, 0.004, 0.1, 0.2, 0.0])


def old(space: SearchSpace, shape: TaskShape, law: Law | None = None) -> Corrected:
    rows = table(space, law or costed(space, shape), nets=60, held_out=2, noise=0.02)
    return fit_predictor(rows, space, shape, PredictConfig(correction="none"))


def times(archs: list[Arch], law: Law) -> np.ndarray:
    return np.array([sum(law(part) for part in arch_parts(arch)) for arch in archs])


def measured(archs: list[Arch], law: Law) -> list[Row]:
    draw = np.random.default_rng(0)
    noisy = times(archs, law) * (1 + 0.02 * draw.standard_normal(len(archs)))
    return [row(arch.digest, float(ms), split="fit", arch=arch) for arch, ms in zip(archs, noisy, strict=True)]


def drawn(space: SearchSpace, count: int, seed: int) -> list[Arch]:
    rng = random.Random(seed)
    return [sample(space, rng) for _ in range(count)]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("space", "shape"), [(VIT, FASHION), (LM, SHORT)], ids=["vit", "lm"])
def test_ten_nets_carry_a_predictor_to_another_device(space: SearchSpace, shape: TaskShape, seed: int) -> None:
    law, asked = elsewhere(space, shape, seed), drawn(space, 60, seed=9)
    before = old(space, shape)
    plan = plan_transfer(before, space, shape, drawn(space, 150, seed))
    assert len(plan) == len(set(plan)) == 10
    moved, truth = transfer(before, measured(plan, law), space, shape), times(asked, law)
    error, was = (np.abs(p.predict(asked) / truth - 1).mean() for p in (moved, before))
    assert error <= 0.08 and error < was
    low, high = moved.interval(asked, 0.9)
    assert ((low <= truth) & (truth <= high)).mean() > 0.8


@pytest.mark.parametrize(("space", "shape", "new"), [(LM, SHORT, LONG), (VIT, FASHION, LARGE)], ids=["lm", "vit"])
def test_ten_nets_carry_a_predictor_to_longer_inputs(space: SearchSpace, shape: TaskShape, new: TaskShape) -> None:
    before, law, asked = old(space, shape), costed(space, new), drawn(space, 60, seed=9)
    plan = plan_transfer(before, space, new, drawn(space, 150, seed=0))
    moved = transfer(before, measured(plan, law), space, new)
    assert np.abs(moved.predict(asked) / times(asked, law) - 1).mean() <= 0.08


def test_ten_nets_carry_a_predictor_to_a_larger_batch_and_on() -> None:
    before, asked = old(LM, SHORT, batched(LM, SHORT, 1)), drawn(LM, 60, seed=9)
    for batch in (4, 16):
        law = batched(LM, SHORT, batch)
        plan = plan_transfer(before, LM, SHORT, drawn(LM, 150, seed=0), batch=4.0)
        before = transfer(before, measured(plan, law), LM, SHORT, batch=4.0)
        assert np.abs(before.predict(asked) / times(asked, law) - 1).mean() <= 0.08


def test_transfer_without_nets_is_refused() -> None:
    before = old(VIT, FASHION)
    parts = [r for r in table(VIT, costed(VIT, FASHION), nets=0, held_out=0) if r.kind == "part"]
    with pytest.raises(MeasurementError, match=r"'vit_small' measured at the new place, got none.*plan_transfer"):
        transfer(before, parts, VIT, FASHION)
