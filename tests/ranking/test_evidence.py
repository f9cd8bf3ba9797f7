"""The evidence on made-up scores whose answers are known."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from nas.ranking.evidence import Net, evidence, halves, relative_gap

FAMILIES = ("linear", "softmax", "sparse")


def nets(truth: Any, score: Callable[[float], float], *, noise: float = 0.0, seeds: int = 2) -> list[Net]:
    rng = np.random.default_rng(5)
    return [
        Net(
            digest=f"{i:016x}",
            family=FAMILIES[i % 3],
            size_bin=3 * i // len(truth),
            inherited=score(value),
            standalone=tuple(value + noise * rng.normal(size=seeds)),
            params=1000.0 + i,
            flops=float(-i),
            proxies={"synflow": math.nan if i == 0 else value, "flat": 1.0},
        )
        for i, value in enumerate(truth)
    ]


@pytest.fixture
def truth() -> Any:
    return np.random.default_rng(0).normal(size=36) + 10


def test_a_perfect_ranking(truth: Any) -> None:
    found = evidence(nets(truth, lambda value: value / 2), None, direction="maximise")
    for group in (found.overall, *found.bins, *found.families):
        assert asdict(group.tau) == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert group.spearman.value == pytest.approx(1.0)
    assert found.within_bins.value == found.within_families.value == found.ceiling.value == found.share_of_ceiling == 1
    assert [group.nets for group in found.bins] == [12, 12, 12] and [g.name for g in found.families] == list(FAMILIES)
    assert found.gap.median == pytest.approx(50) and found.gap.low == pytest.approx(50)
    assert found.noise.seeds == 0 and found.noise.nets == pytest.approx(truth.std(ddof=1))


def test_a_reversed_ranking(truth: Any) -> None:
    found = evidence(nets(truth, lambda value: -value), None, direction="maximise")
    assert asdict(found.overall.tau) == {"value": -1.0, "low": -1.0, "high": -1.0}
    assert found.share_of_ceiling == -1.0


def test_a_random_ranking_has_nothing_to_say(truth: Any) -> None:
    rng = np.random.default_rng(1)
    found = evidence(nets(truth, lambda _: float(rng.normal())), None, direction="maximise")
    assert found.overall.tau.low is not None and found.overall.tau.high is not None
    assert found.overall.tau.low < 0 < found.overall.tau.high


def test_ceiling_and_noise_are_those_of_the_seeds() -> None:
    truth, noise = np.random.default_rng(2).normal(size=400), 0.5
    rng = np.random.default_rng(3)
    made = nets(truth, lambda value: value + noise * float(rng.normal()), noise=noise, seeds=2)
    found = evidence(made, None, direction="maximise", resamples=100)
    one_to_one = 2 / math.pi * math.asin(1 / (1 + noise**2))
    one_to_mean = 2 / math.pi * math.asin(1 / math.sqrt((1 + noise**2) * (1 + noise**2 / 2)))
    assert found.ceiling.value == pytest.approx(one_to_one, abs=0.04)
    assert found.overall.tau.value == pytest.approx(one_to_mean, abs=0.04)
    assert found.noise.seeds == pytest.approx(noise, rel=0.1)
    assert found.noise.nets == pytest.approx(math.sqrt(1 + noise**2 / 2), rel=0.1)


def test_rivals_are_compared_over_the_same_nets_and_resamples() -> None:
    truth = np.arange(36.0) + 1
    found = evidence(nets(truth, lambda value: value), None, direction="maximise")
    rivals = {rival.name: rival for rival in found.rivals}
    assert list(rivals) == ["params", "flops", "synflow", "flat"]
    assert asdict(rivals["params"].lead) == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert asdict(rivals["flops"].lead) == {"value": 2.0, "low": 2.0, "high": 2.0}
    assert rivals["flops"].within_bins.value == -1.0
    assert rivals["synflow"].nets == 35 and rivals["synflow"].tau.value == 1.0
    assert rivals["flat"].tau.value is rivals["flat"].lead.value is None


def test_less_may_be_better() -> None:
    truth = np.arange(36.0, 0, -1)  # the more parameters, the fewer bits
    made = nets(truth, lambda value: 1.1 * value)
    less = evidence(made, replace(made[0], inherited=30.0), direction="minimise")
    more = evidence(made, None, direction="maximise")
    assert less.overall.tau == more.overall.tau
    assert less.rivals[0].tau.value == 1.0 and more.rivals[0].tau.value == -1.0
    assert less.gap.median == pytest.approx(10) and more.gap.median == pytest.approx(-10)
    assert less.gap.largest == pytest.approx(100 * (30 - 36) / 36) and more.gap.largest is None


def test_the_gap_of_nothing_is_not_known(truth: Any) -> None:
    net = replace(nets(truth, lambda value: value)[0], standalone=(0.0, 0.0))
    assert relative_gap(net, "maximise") is None


def test_small_and_constant_groups_say_their_count_alone() -> None:
    made = nets(np.arange(9.0) + 1, lambda value: value)
    found = evidence([replace(net, family="softmax" if i < 6 else "state") for i, net in enumerate(made)], None,
                     direction="maximise")  # fmt: skip
    assert [(g.name, g.nets, g.tau.value) for g in found.families] == [("softmax", 6, 1.0), ("state", 3, None)]
    same = evidence([replace(net, inherited=0.1) for net in made], None, direction="maximise")
    assert same.overall.tau.value is None and same.share_of_ceiling is None
    json.dumps(asdict(same), allow_nan=False)


@pytest.mark.parametrize(("seeds", "ways"), [(2, 1), (3, 3), (4, 3), (5, 10)])
def test_seeds_are_halved_in_every_way_once(seeds: int, ways: int) -> None:
    found = halves(seeds)
    assert len({frozenset(pair) for pair in found}) == len(found) == ways
    for one, other in found:
        assert sorted((*one, *other)) == list(range(seeds)) and len(other) - len(one) == seeds % 2


def test_the_same_nets_give_the_same_intervals(truth: Any) -> None:
    made = nets(truth, lambda value: value**2, noise=0.5)
    first, again, other = (evidence(made, None, direction="maximise", seed=seed) for seed in (0, 0, 1))
    assert first == again and first.ceiling.value == other.ceiling.value and first.ceiling.low != other.ceiling.low
