"""Nodes and drivers that are killed: the study of it, with fewer rounds."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.studies.kills import BUDGET, disturbed, nodes, undisturbed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> Iterator[Any]:
    with nodes() as made:
        yield made


@pytest.mark.parametrize(("strategy", "rounds"), [("random", 1), ("nsga2", 2)])
def test_a_search_with_a_node_and_its_driver_killed_is_as_if_undisturbed(
    made: Any, strategy: str, rounds: int, tmp_path: Path
) -> None:
    twin, rng = undisturbed(made, strategy, tmp_path / "twin"), random.Random(strategy)
    assert len(twin.rows) == len(twin.scored) == BUDGET
    for i in range(rounds):
        result = disturbed(made, strategy, tmp_path / str(i), rng, twin)
        assert result.is_good, result
