"""The correction on made-up trainings whose answers are known."""

import json
import pickle
import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from nas.arch import Arch
from nas.ranking.correction import TRAITS, Correction, Traits, foretold
from nas.ranking.evidence import CORRECTED, Net, evidence
from nas.shapes import ImageShape
from nas.space import sample
from tests.spaces import shipped

SPACE = shipped("vit_tiny")
SHAPE = ImageShape(channels=1, height=28, width=28, classes=10)
MADE = Traits(SPACE, SHAPE)


def nets(*, traits: float, inherited: float, loss: bool = True, count: int = 36) -> tuple[list[Net], list[Arch]]:
    """Networks whose quality alone is so much their traits and so much their inherited score."""
    rng, draw = np.random.default_rng(2), random.Random(0)
    archs = list({arch.digest: arch for arch in (sample(SPACE, draw) for _ in range(2 * count))}.values())[:count]
    made = MADE(archs)
    own = (made - made.mean(0)) @ rng.normal(size=made.shape[1]) / made.shape[1]
    score = rng.uniform(0.4, 0.7, count)
    alone = 0.8 + traits * own / np.abs(own).max() + inherited * (score - score.mean())
    found = [
        Net(
            digest=arch.digest,
            family="linear",
            size_bin=i % 3,
            inherited=score[i],
            standalone=(alone[i] - 0.001, alone[i] + 0.001),
            params=1.0,
            flops=1.0,
            proxies={"snip": 1.0, **({"loss": -2 * score[i]} if loss else {})},
        )
        for i, arch in enumerate(archs)
    ]
    return found, archs


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
def test_left_out_networks_are_foretold_in_the_units_of_the_metric(direction: Any) -> None:
    found = foretold(MADE, *nets(traits=0.1, inherited=0.2), direction)
    study = evidence(found, None, direction=direction, resamples=100)
    rivals = {rival.name: rival.tau.value for rival in study.rivals}
    assert rivals[CORRECTED] is not None and rivals[TRAITS] is not None
    assert rivals[CORRECTED] > 0.9 > 0.85 > rivals[TRAITS]
    assert study.corrected_error is not None and study.corrected_error < 2
    sign = 1 if direction == "maximise" else -1
    assert all(abs(sign * net.proxies[CORRECTED] - net.standalone[0]) < 0.05 for net in found)


def test_a_supernet_that_says_nothing_is_not_better_than_traits() -> None:
    found = foretold(MADE, *nets(traits=0.1, inherited=0.0), "maximise")
    rivals = {rival.name: rival.tau.value for rival in evidence(found, None, direction="maximise").rivals}
    assert rivals[TRAITS] is not None and rivals[TRAITS] > 0.8
    assert rivals[CORRECTED] is not None and abs(rivals[CORRECTED] - rivals[TRAITS]) < 0.1


def test_chance_is_not_reversed() -> None:
    known, archs = nets(traits=0.0, inherited=0.0)
    noise = np.random.default_rng(7).normal(size=len(known))
    found = foretold(
        MADE, [replace(n, standalone=(x, x)) for n, x in zip(known, noise, strict=True)], archs, "maximise"
    )
    rivals = {rival.name: rival.tau.value for rival in evidence(found, None, direction="maximise").rivals}
    assert rivals[TRAITS] is not None and rivals[CORRECTED] is not None
    assert min(rivals[TRAITS], rivals[CORRECTED]) > -0.4


def test_no_training_of_its_own_reaches_a_left_out_network() -> None:
    known, archs = nets(traits=0.1, inherited=0.2)
    better = [replace(known[0], standalone=(0.9, 0.9)), *known[1:]]
    for name in (TRAITS, CORRECTED):
        before, after = (foretold(MADE, group, archs, "maximise")[0].proxies[name] for group in (known, better))
        # of its own training only what the mean of all owes to it
        shift = np.log(0.1 / (1 - sum(known[0].standalone) / 2)) / len(known)
        assert np.log((1 - after) / (1 - before)) == pytest.approx(shift)


def test_no_expectation_is_beyond_the_metrics_range() -> None:
    known, archs = nets(traits=0.1, inherited=0.2)
    fitted = Correction.fit(MADE, "accuracy", "maximise", known, archs)
    for inherited in (0.0, 0.5, 1.0):
        assert fitted(SPACE.largest(), {"accuracy": inherited, "loss": 0.0}) < 1
    perfect = [replace(net, standalone=(1.0, 1.0)) for net in known]
    fitted = Correction.fit(MADE, "accuracy", "maximise", perfect, archs)
    assert fitted(archs[0], {"accuracy": 0.5, "loss": 1.0}) == pytest.approx(0.999)


def test_nothing_is_off_where_there_is_no_correction() -> None:
    known, _ = nets(traits=0.1, inherited=0.2)
    assert evidence(known, None, direction="maximise", resamples=100).corrected_error is None


@pytest.mark.parametrize("loss", [True, False])
def test_what_was_written_corrects_as_what_was_found(loss: bool) -> None:
    known, archs = nets(traits=0.1, inherited=0.2, loss=loss)
    fitted = Correction.fit(MADE, "accuracy", "maximise", known, archs)
    rows = [
        {**asdict(net), "arch": arch.to_dict(), "is_ranked": i > 0}
        for i, (net, arch) in enumerate(zip([known[0], *known], [archs[0], *archs], strict=True))
    ]
    read = Correction.read(MADE, json.loads(json.dumps({"metric": "accuracy", "direction": "maximise", "nets": rows})))
    travelled = pickle.loads(pickle.dumps(read))
    for net, arch in zip(known[:5], archs, strict=False):
        scores = {"accuracy": net.inherited, "loss": 2 * net.inherited}
        assert fitted(arch, scores) == read(arch, scores) == travelled(arch, scores)
        assert fitted(arch, scores) == pytest.approx(net.standalone[0], abs=0.05)
    assert fitted.has_loss == loss


def test_traits_of_stages_are_means_over_blocks() -> None:
    space = shipped("image_pyramid")
    arch = space.largest()
    made = Traits(space, replace(SHAPE, height=32, width=32))([arch])
    names = space.operator_names()
    assert made.shape == (1, 5 + len(names))
    assert made[0, 2] == len(arch.blocks)
    widths = [np.log(stage.embed_dim) for stage in arch.stages for _ in stage.blocks]
    assert made[0, 3] == pytest.approx(np.mean(widths))
    assert made[0, 5:].sum() == pytest.approx(1)
