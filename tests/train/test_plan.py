from collections import Counter

import pytest
import torch

from nas.space import SearchSpace
from nas.train.batches import batch_index
from nas.train.plan import Alone, Sandwich
from nas.train.recipe import RecipeConfig
from tests.spaces import names, shipped


@pytest.fixture(params=names())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return shipped(request.param)


def test_a_step_has_largest_smallest_anchor_and_random(space: SearchSpace) -> None:
    plan = Sandwich(
        space, seed=0, recipe=RecipeConfig(teacher="largest", smallest_every=1, randoms=2, anchor="largest")
    )
    seen: Counter[str] = Counter()
    for step in range(12):
        archs = plan(step)
        assert next(iter(archs)) == space.largest()
        assert space.smallest() in archs
        assert all(arch in space for arch in archs)
        seen.update(archs.values())
    anchors = {family for family, arch in space.anchors().items() if arch != space.largest()}
    assert anchors <= set(seen)
    assert seen["random"] >= 20


def test_every_family_has_its_turn_where_teachers_are_dealt(space: SearchSpace) -> None:
    plan = Sandwich(space, seed=0)
    families = space.anchors()
    roles = Counter(role for step in range(4 * len(families)) for role in plan(step).values())
    assert set(families) <= set(roles)
    assert roles["largest"] == 4 * len(families)


def test_steps_depend_on_seed_and_step_alone(space: SearchSpace) -> None:
    plan = Sandwich(space, seed=3)
    assert [plan(step) for step in (5, 1, 5)] == [Sandwich(space, seed=3)(step) for step in (5, 1, 5)]
    assert any(plan(step) != Sandwich(space, seed=4)(step) for step in range(4))


def test_every_operator_of_a_block_gets_equal_turns() -> None:
    space = shipped("vit_small")
    plan = Sandwich(space, seed=0)
    block = space.stages[0].blocks[1]
    turns = Counter(plan.dealer.operator(block, "0.1", draw) for draw in range(7 * len(block.names)))
    assert set(turns.values()) == {7} and set(turns) == set(block.names)


def test_alone_is_one_arch() -> None:
    arch = shipped("digits_tiny").largest()
    assert Alone(arch)(7) == {arch: "largest"}


def test_batches_walk_through_shuffled_epochs() -> None:
    steps = [batch_index(10, 4, 0, step) for step in range(5)]
    assert sorted(torch.cat(steps).tolist()) == sorted([*range(10), *range(10)])
    assert torch.equal(batch_index(10, 4, 0, 3), steps[3])
    assert not torch.equal(batch_index(10, 10, 0, 0), batch_index(10, 10, 0, 1))
    assert len(batch_index(3, 8, 0, 2)) == 8
