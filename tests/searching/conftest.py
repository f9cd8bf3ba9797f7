from typing import Any

import pytest

from nas.searching import optuna_rounds
from nas.searching.executor import Scorer
from nas.searching.objectives import CheapObjectives, Constraint, Objective
from nas.searching.problem import Problem
from nas.searching.strategies import ehvi, narrowing, surrogate, tpe
from nas.shapes import ImageShape
from nas.space import ArchSpace, ChoiceSpace, ListedSpace, SearchSpace, load_space
from tests.searching.toys import PlainToy, Toy, is_odd

SHAPE = ImageShape(channels=1, height=8, width=8, classes=10)
OBJECTIVES = (Objective("accuracy", "maximise"), Objective("latency_ms"), Objective("params"))
PLAIN = (Objective("quality", "maximise"), Objective("cost"))
CHOICES = {
    "kind": ["add", "dot", "skip"],
    **{f"{i}.width": [8, 16, 24, 32] for i in range(5)},
    **{f"{i}.act": ["relu", "gelu", "tanh"] for i in range(5)},
    "bias": [False, True],
}


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
    return Problem(ArchSpace(space), OBJECTIVES, (), cheap)


@pytest.fixture
def limited(space: SearchSpace, cheap: CheapObjectives) -> Problem:
    bound = cheap([space.largest()])[0]["params"] / 4
    return Problem(ArchSpace(space), OBJECTIVES, (Constraint(name="params", bound=bound),), cheap)


@pytest.fixture
def toy() -> Scorer:
    return Toy()


@pytest.fixture(scope="session")
def choices() -> ChoiceSpace:
    return ChoiceSpace(CHOICES, where=is_odd)


@pytest.fixture(scope="session")
def listed(choices: ChoiceSpace) -> ListedSpace:
    return ListedSpace(choices, [point for i, point in enumerate(choices.every()) if i % 997 == 0])


@pytest.fixture
def plain(choices: ChoiceSpace) -> Problem:
    """Nothing is known before an evaluation."""
    return Problem(choices, PLAIN)


@pytest.fixture
def plain_toy() -> Scorer:
    return PlainToy()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # the contract depends neither on how long candidates are evolved nor on how well a model is fitted
    for module, settings in {
        surrogate: {"GENERATIONS": 2, "CHILDREN": 24},
        ehvi: {"POOL": 64, "SHORT": 8, "STEPS": 4, "CAP": 32},
        tpe: {"CAP": 64, "ELITE": 24},
        optuna_rounds: {"POPULATION": 12},
        narrowing: {"STAGE": 16},
    }.items():
        for name, value in settings.items():
            monkeypatch.setattr(module, name, value)
