"""Which architectures a ranking is tested on."""

from collections import Counter

import pytest

from nas.arch import NONE, Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.ranking.choose import choose, dominant, size_bin, size_edges
from nas.supernet import network_cost
from tests.spaces import SHAPES, shipped


def chosen(name: str, count: int, *, seed: int = 0) -> list[Arch]:
    space = shipped(name)

    def size(arch: Arch) -> float:
        return network_cost(space.frame, SHAPES[name], arch).params

    return choose(space, count, size, bins=3, seed=seed)


@pytest.mark.parametrize("name", ["digits_tiny", "lm_tiny", "vit_small"])
def test_families_and_sizes_are_filled_evenly(name: str) -> None:
    space, found = shipped(name), chosen(name, 36)
    assert len(set(found)) == len(found) == 36 and all(arch in space for arch in found)
    families = Counter(dominant(arch) for arch in found)
    assert set(families) - {NONE} == set(space.families())
    even = 36 / len(families)
    assert all(abs(count - even) <= 3 for family, count in families.items() if family != NONE), families
    sizes = [network_cost(space.frame, SHAPES[name], arch).params for arch in found]
    edges = size_edges(sizes, 3)
    assert all(10 <= count <= 14 for count in Counter(size_bin(size, edges) for size in sizes).values())


def test_the_same_seed_chooses_the_same() -> None:
    assert chosen("digits_tiny", 12) == chosen("digits_tiny", 12) != chosen("digits_tiny", 12, seed=1)


def test_a_space_that_has_fewer_gives_what_it_has() -> None:
    space = shipped("digits_tiny")
    only = space.only(space.largest())
    assert choose(only, 8, lambda _: 1.0, bins=3, seed=0) == [space.largest()]


def test_the_family_of_most_blocks() -> None:
    softmax, linear, none = (
        BlockArch(OperatorArch.of(name), FfnArch("mlp", 1.0)) for name in ("softmax", "linear", NONE)
    )
    named = {"linear": (linear, softmax, linear), "softmax": (softmax, linear, none, none), NONE: (none,)}
    assert all(dominant(Arch((StageArch(8, blocks),))) == family for family, blocks in named.items())


def test_bins_are_equally_full() -> None:
    edges = size_edges([5.0, 1.0, 2.0, 6.0, 3.0, 4.0], 3)
    assert [size_bin(size, edges) for size in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)] == [0, 0, 1, 1, 2, 2]
    assert size_edges([1.0], 1) == [] and size_bin(9.0, []) == 0
