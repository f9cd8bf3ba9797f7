"""Traits of archs, as regressions read them."""

from dataclasses import replace

import numpy as np
import pytest

from nas.ranking.traits import Traits
from nas.shapes import ImageShape
from nas.space.space import settle
from tests.spaces import shipped

SHAPE = ImageShape(channels=1, height=28, width=28, classes=10)


def test_traits_of_stages_are_means_over_blocks() -> None:
    space = shipped("image_pyramid")
    arch = space.largest()
    made = Traits(space, replace(SHAPE, height=32, width=32))([arch])
    names = space.operator_names()
    assert made.shape == (1, 5 + len(names))
    assert made[0, 2] == len(arch.blocks)
    assert np.array_equal(made[:, :3], Traits(space, replace(SHAPE, height=32, width=32)).sizes([arch]))
    widths = [np.log(stage.embed_dim) for stage in arch.stages for _ in stage.blocks]
    assert made[0, 3] == pytest.approx(np.mean(widths))
    assert made[0, 5:].sum() == pytest.approx(1)


def test_details_are_the_operators_and_ffns_at_both_ends() -> None:
    space = shipped("vit_tiny")
    traits, names = Traits(space, SHAPE), space.operator_names()
    largest, smallest = space.largest(), space.smallest()
    made = traits.detailed([largest, smallest])
    assert made.shape == (2, 5 + 3 * len(names) + 2)
    assert np.array_equal(made[:, : 5 + len(names)], traits([largest, smallest]))
    first, last = (made[:, 5 + i * len(names) : 5 + (i + 1) * len(names)] for i in (1, 2))
    for row, arch in enumerate((largest, smallest)):
        assert names[first[row].argmax()] == arch.blocks[0].operator.name and first[row].sum() == 1
        assert list(made[row, -2:]) == [arch.blocks[0].ffn.ratio, arch.blocks[-1].ffn.ratio]
    assert names[last[0].argmax()] == largest.blocks[-1].operator.name
    assert len(smallest.blocks) == 1 and last[1].sum() == 0, "one block is the first, not the last"


def test_a_network_without_blocks_has_traits() -> None:
    space = shipped("digits_tiny")
    traits, names = Traits(space, replace(SHAPE, height=8, width=8)), space.operator_names()
    made = traits.detailed([settle(space, [(stage.embed_dims[-1], []) for stage in space.stages])])
    assert np.isfinite(made).all() and (made[0, :2] > 0).all() and not made[0, 2:].any()
    assert made.shape == (1, 5 + 3 * len(names) + 2)
