from typing import Any

import pytest

from nas.searching.executor import Scorer
from nas.searching.objectives import CheapObjectives, Constraint, Objective
from nas.searching.problem import Problem
from nas.shapes import ImageShape
from nas.space import SearchSpace, load_space
from tests.searching.toys import Toy

SHAPE = ImageShape(channels=1, height=8, width=8, classes=10)
OBJECTIVES = (Objective("accuracy", "maximise"), Objective("latency_ms"), Objective("params"))


def space_of(**block: Any) -> SearchSpace:
    choices = {
        "num_heads": [1, 2, 4],
        "num_kv_heads": [1, 2],
        "head_dim": [8],
        "operators": {"softmax": {}, "none": {}},
        "ffn": {"mlp": [1, 2], "none": []},
    }
    stage = {"embed_dim": [16, 24, 32], "depth": [1, 2, 3, 4], "block": {**choices, **block}}
    return load_space({"name": "toy", "domain": "image", "stem": {"patch": 1}, "stages": [stage]})


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return space_of()


@pytest.fixture(scope="session")
def cheap(space: SearchSpace) -> CheapObjectives:
    counted = CheapObjectives(space, SHAPE)
    return CheapObjectives(space, SHAPE, lambda archs: [v["flops"] ** 0.8 / 1e4 for v in counted(archs)])


@pytest.fixture
def problem(space: SearchSpace, cheap: CheapObjectives) -> Problem:
    return Problem(space, OBJECTIVES, (), cheap)


@pytest.fixture
def limited(space: SearchSpace, cheap: CheapObjectives) -> Problem:
    bound = cheap([space.largest()])[0]["params"] / 4
    return Problem(space, OBJECTIVES, (Constraint(name="params", bound=bound),), cheap)


@pytest.fixture
def toy() -> Scorer:
    return Toy()
