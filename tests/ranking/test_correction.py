"""The correction on made-up trainings whose answers are known."""

import json
import pickle
import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from nas.ranking.correction import TRAITS, Correction, Trained, foretold
from nas.ranking.evidence import CORRECTED, Net, evidence
from nas.ranking.traits import Traits
from nas.shapes import ImageShape
from nas.space import sample
from tests.spaces import shipped

SPACE = shipped("vit_tiny")
SHAPE = ImageShape(channels=1, height=28, width=28, classes=10)
MADE = Traits(SPACE, SHAPE)


def nets(
    *, traits: float, inherited: float, loss: bool = True, count: int = 36, detailed: bool = False, noise: float = 0.0
) -> Trained:
    """Networks whose quality alone is so much their traits and so much their inherited score."""
    rng, draw = np.random.default_rng(2), random.Random(0)
    archs = list({arch.digest: arch for arch in (sample(SPACE, draw) for _ in range(2 * count))}.values())[:count]
    made = MADE.detailed(archs) if detailed else MADE(archs)
    own = (made - made.mean(0)) @ rng.normal(size=made.shape[1]) / made.shape[1]
    score = rng.uniform(0.4, 0.7, count)
    alone = 0.8 + traits * own / np.abs(own).max() + inherited * (score - score.mean()) + noise * rng.normal(size=count)
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
    return Trained(found, archs)


def parted(known: Trained, count: int = 36) -> tuple[Trained, Trained]:
    """The first ones, and the others after a part of the training: they miss half as much again, to a power."""
    short = [replace(net, standalone=(1 - 1.5 * (1 - sum(net.standalone) / 2) ** 0.8,)) for net in known.nets[count:]]
    return Trained(known.nets[:count], known.archs[:count]), Trained(short, known.archs[count:])


def taus(found: list[Net], direction: Any = "maximise") -> dict[str, float]:
    values = {rival.name: rival.tau.value for rival in evidence(found, None, direction=direction, resamples=100).rivals}
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
def test_left_out_networks_are_foretold_in_the_units_of_the_metric(direction: Any) -> None:
    found = foretold(MADE, nets(traits=0.1, inherited=0.2), direction)
    assert taus(found, direction)[CORRECTED] > 0.9 > 0.85 > taus(found, direction)[TRAITS]
    error = evidence(found, None, direction=direction, resamples=100).corrected_error
    assert error is not None and error < 2
    sign = 1 if direction == "maximise" else -1
    assert all(abs(sign * net.proxies[CORRECTED] - net.standalone[0]) < 0.05 for net in found)


def test_what_is_nearly_never_and_nearly_always_right_is_foretold_as_well() -> None:
    """As in recall, where some networks learn the task and some never do."""
    known = nets(traits=0.0, inherited=1.0)
    shares = [float(expit(30 * (net.inherited - 0.55))) for net in known.nets]
    learnt = [replace(net, standalone=(share, share)) for net, share in zip(known.nets, shares, strict=True)]
    found = foretold(MADE, Trained(learnt, known.archs), "maximise")
    assert min(shares) < 0.03 and max(shares) > 0.97
    assert all(abs(net.proxies[CORRECTED] - share) < 0.03 for net, share in zip(found, shares, strict=True))
    assert taus(found)[CORRECTED] > 0.95


def test_a_supernet_that_says_nothing_is_not_better_than_traits() -> None:
    found = taus(foretold(MADE, nets(traits=0.1, inherited=0.0), "maximise"))
    assert found[TRAITS] > 0.8 and abs(found[CORRECTED] - found[TRAITS]) < 0.1


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
def test_landmarks_tell_what_few_whole_trainings_cannot(direction: Any) -> None:
    """What comes first and last decides here, too, and each whole training is off by a third of what it decides."""
    known, landmarks = parted(_detailed())
    without = taus(foretold(MADE, known, direction), direction)
    found = foretold(MADE, known, direction, landmarks)
    assert taus(found, direction)[CORRECTED] > max(0.85, without[CORRECTED] + 0.05)
    assert taus(found, direction)[TRAITS] > without[TRAITS]
    error = evidence(found, None, direction=direction, resamples=100).corrected_error
    assert error is not None and error < 2, "in the units of whole trainings"


def test_landmarks_that_know_the_supernet_teach_nothing_to_what_does_not() -> None:
    known, landmarks = parted(_detailed())
    without, fresh = taus(foretold(MADE, known, "maximise")), taus(foretold(MADE, known, "maximise", landmarks))
    found = taus(foretold(MADE, known, "maximise", replace(landmarks, are_inherited=True)))
    assert found[TRAITS] == without[TRAITS] != fresh[TRAITS]
    assert found[CORRECTED] > max(0.85, without[CORRECTED] + 0.05)


@pytest.mark.parametrize("direction", ["maximise", "minimise"])
def test_landmarks_that_mislead_do_not_count(direction: Any) -> None:
    """Short trainings rank as chance does here."""
    known, landmarks = parted(nets(traits=0.1, inherited=0.2, count=136))
    noise = np.random.default_rng(3).uniform(0.3, 0.6, len(landmarks.nets))
    chance = [replace(net, standalone=(float(x),)) for net, x in zip(landmarks.nets, noise, strict=True)]
    misleading = Trained(chance, landmarks.archs)
    assert foretold(MADE, known, direction, misleading) == foretold(MADE, known, direction)
    fitted = Correction.fit(MADE, "accuracy", direction, known, misleading)
    plain = Correction.fit(MADE, "accuracy", direction, known)
    assert not fitted.by_landmarks and not plain.by_landmarks
    scores = {"accuracy": 0.5, "loss": 1.0}
    assert fitted(SPACE.largest(), scores) == plain(SPACE.largest(), scores)
    assert Correction.fit(MADE, "accuracy", direction, *parted(_detailed())).by_landmarks


def _detailed() -> Trained:
    return nets(traits=0.1, inherited=0.2, count=180, detailed=True, noise=0.005)


def test_chance_is_not_reversed() -> None:
    known = nets(traits=0.0, inherited=0.0)
    noise = np.random.default_rng(7).normal(size=len(known.nets))
    chance = [replace(net, standalone=(x, x)) for net, x in zip(known.nets, noise, strict=True)]
    found = taus(foretold(MADE, Trained(chance, known.archs), "maximise"))
    assert min(found[TRAITS], found[CORRECTED]) > -0.4


@pytest.mark.parametrize("marked", [False, True])
def test_no_training_of_its_own_reaches_a_left_out_network(marked: bool) -> None:
    known, landmarks = parted(nets(traits=0.1, inherited=0.2, count=80))
    first = known.nets[0]
    better = Trained([replace(first, standalone=(0.9, 0.9)), *known.nets[1:]], known.archs)
    for name in (TRAITS, CORRECTED):
        before, after = (
            foretold(MADE, group, "maximise", landmarks if marked else None)[0].proxies[name]
            for group in (known, better)
        )
        # of its own training only what the mean of all owes to it
        shift = (logit(0.9) - logit(sum(first.standalone) / 2)) / len(known.nets)
        assert logit(after) - logit(before) == pytest.approx(shift)


def test_the_largest_is_judged_by_what_it_did_not_teach() -> None:
    known = nets(traits=0.1, inherited=0.2)
    largest, others = known.nets[0], Trained(known.nets[1:], known.archs[1:])
    for direction in ("maximise", "minimise"):
        told = Correction.fit(MADE, "accuracy", direction, others).told(largest, known.archs[0])
        found = foretold(MADE, others, direction)
        off = evidence(found, told, direction=direction, resamples=100).corrected_largest
        assert off is not None and 0 <= off < 3
        expected = (1 if direction == "maximise" else -1) * told.proxies[CORRECTED]
        alone = sum(largest.standalone) / 2
        assert off == pytest.approx(100 * abs(expected - alone) / alone)


def test_no_expectation_is_beyond_the_metrics_range() -> None:
    known = nets(traits=0.1, inherited=0.2)
    fitted = Correction.fit(MADE, "accuracy", "maximise", known)
    for inherited in (0.0, 0.5, 1.0):
        assert fitted(SPACE.largest(), {"accuracy": inherited, "loss": 0.0}) < 1
    # scores far below any that taught, of a correction that goes by them
    hopeless = Correction.fit(MADE, "accuracy", "maximise", nets(traits=0.0, inherited=3.0))
    assert hopeless(known.archs[0], {"accuracy": -1e3, "loss": 1e3}) == pytest.approx(0)
    perfect = Trained([replace(net, standalone=(1.0, 1.0)) for net in known.nets], known.archs)
    fitted = Correction.fit(MADE, "accuracy", "maximise", perfect)
    assert fitted(known.archs[0], {"accuracy": 0.5, "loss": 1.0}) == pytest.approx(0.999)


def test_nothing_is_off_where_there_is_no_correction() -> None:
    known = nets(traits=0.1, inherited=0.2)
    assert evidence(known.nets, None, direction="maximise", resamples=100).corrected_error is None


def test_without_scores_no_score_counts() -> None:
    known, landmarks = parted(nets(traits=0.1, inherited=0.2, count=80))
    for marks in (None, landmarks):
        fitted = Correction.fit(MADE, "accuracy", "maximise", known, marks, scores=False)
        low, high = (fitted(known.archs[0], {"accuracy": x, "loss": x}) for x in (0.1, 0.9))
        assert low == high and 0.6 < low < 1 and fitted.columns == 0


@pytest.mark.parametrize("start", [None, "scratch", "inherited"])
@pytest.mark.parametrize("loss", [True, False])
def test_what_was_written_corrects_as_what_was_found(loss: bool, start: str | None) -> None:
    known, landmarks = parted(nets(traits=0.1, inherited=0.2, loss=loss, count=80))
    landmarks = replace(landmarks, are_inherited=start == "inherited")
    fitted = Correction.fit(MADE, "accuracy", "maximise", known, landmarks if start else None)
    pairs = list(zip([known.nets[0], *known.nets], [known.archs[0], *known.archs], strict=True))
    rows = [{**asdict(net), "arch": arch.to_dict(), "is_ranked": i > 0} for i, (net, arch) in enumerate(pairs)]
    marks = [{**asdict(net), "arch": arch.to_dict()} for net, arch in zip(landmarks.nets, landmarks.archs, strict=True)]
    shown = {"landmarks": marks, "short_start": start} if start else {}
    written = {"metric": "accuracy", "direction": "maximise", "nets": rows, **shown}
    read = Correction.read(MADE, json.loads(json.dumps(written)))
    travelled = pickle.loads(pickle.dumps(read))
    for net, arch in zip(known.nets[:5], known.archs, strict=False):
        scores = {"accuracy": net.inherited, "loss": 2 * net.inherited}
        assert fitted(arch, scores) == read(arch, scores) == travelled(arch, scores)
        assert fitted(arch, scores) == pytest.approx(net.standalone[0], abs=0.05)
    assert fitted.columns == 1 + loss
