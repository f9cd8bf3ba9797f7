import random
from dataclasses import replace

import numpy as np

from nas.arch import Arch
from nas.report.importance import LEAST, choices, importances
from nas.report.read import Point, Record, read
from nas.run import Run
from nas.space import sample
from tests import spaces
from tests.report.test_figures import GATED, LINEAR, SOFTMAX, net


def record_of(values: dict[Arch, tuple[float, float]], empty: Record) -> Record:
    points = [Point(arch=a, values={"latency_ms": ms, "accuracy": q}) for a, (ms, q) in values.items()]
    return replace(empty, evaluated=tuple(points))


def test_choices_are_means_over_blocks() -> None:
    found = choices([net(SOFTMAX, LINEAR), GATED])
    assert list(found["blocks"]) == [2.0, 2.0] and list(found["width"]) == [32.0, 24.0]
    assert list(found["softmax blocks, share"]) == [0.5, 0.0] and list(found["linear blocks, share"]) == [0.5, 0.5]
    assert list(found["heads"]) == [3.0, 2.0] and list(found["FFN ratio"]) == [2.0, 0.5]
    assert list(found["gated blocks, share"]) == [0.0, 0.5]
    assert choices([]) == {}


def test_what_decides_comes_first(tmp_path: object) -> None:
    space, rng = spaces.shipped("lm_tiny"), random.Random(1)
    archs = {sample(space, rng) for _ in range(200)}
    empty = read(Run.at(str(tmp_path)))
    by = choices(list(archs))
    share = by["softmax blocks, share"]
    values = {a: (float(by["width"][i]), float(share[i])) for i, a in enumerate(archs)}
    found = importances(record_of(values, empty))
    assert found is not None and found.archs == len(archs)
    assert found.quality_r2 > 0.9 and found.latency_r2 > 0.9
    quality = max(found.choices, key=lambda one: one.quality)
    latency = max(found.choices, key=lambda one: one.latency)
    assert (quality.choice, latency.choice) == ("softmax blocks, share", "width")
    others = [one.quality for one in found.choices if one is not quality]
    assert max(others) < 0.2 * quality.quality
    assert np.isclose(quality.mean, share.mean()) and quality.front is None


def test_few_archs_say_nothing(tmp_path: object) -> None:
    space, rng = spaces.shipped("lm_tiny"), random.Random(1)
    archs = list({sample(space, rng) for _ in range(2 * LEAST)})[: LEAST - 1]
    record = record_of(dict.fromkeys(archs, (1.0, 1.0)), read(Run.at(str(tmp_path))))
    assert importances(record) is None


def test_archs_that_are_all_equally_good_explain_nothing(tmp_path: object) -> None:
    space, rng = spaces.shipped("lm_tiny"), random.Random(1)
    archs = {sample(space, rng) for _ in range(60)}
    found = importances(record_of(dict.fromkeys(archs, (1.0, 1.0)), read(Run.at(str(tmp_path)))))
    assert found is not None and found.quality_r2 == 0.0
    assert all(one.quality == one.latency == 0.0 for one in found.choices)
