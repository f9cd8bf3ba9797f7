"""Values within a budget of bytes."""

import random

import pytest
import torch
from torch import Tensor

from nas.searching.kept import Kept
from nas.supernet.prefix import State


def sized(count: int) -> State:
    """Of so many bytes."""
    return State(torch.zeros(count, dtype=torch.uint8))


def test_the_least_worth_goes_first() -> None:
    kept: Kept[State] = Kept(300)
    for worth, key in enumerate("abc", 1):
        kept.add(key, float(worth), sized(100))
    kept.add("d", 2.5, sized(100))
    assert [key for key in "abcd" if kept.get(key, 0.0) is not None] == ["b", "c", "d"]
    kept.add("e", 0.5, sized(100))
    assert kept.get("e", 0.0) is None and len(kept) == 3


def test_what_nobody_asks_for_ages() -> None:
    kept: Kept[State] = Kept(200)
    kept.add("once dear", 3.0, sized(100))
    for key in range(8):
        kept.add(key, 1.0, sized(100))
    assert kept.get("once dear", 0.0) is None
    kept.add("asked", 3.0, sized(100))
    for key in range(8, 32):
        kept.get("asked", 3.0)
        kept.add(key, 1.0, sized(100))
    assert kept.get("asked", 0.0) is not None


def test_shared_memory_counts_once_until_its_last_holder_is_gone() -> None:
    kept: Kept[State] = Kept(1000)
    common: Tensor = torch.zeros(400, dtype=torch.uint8)
    kept.add("one", 1.0, State(torch.zeros(100, dtype=torch.uint8), {"k": common}))
    kept.add("two", 2.0, State(torch.zeros(100, dtype=torch.uint8), {"k": common[:10]}))
    assert kept.used == 600
    kept.add("three", 3.0, sized(450))
    assert (kept.get("one", 0.0), len(kept), kept.used) == (None, 2, 950)
    kept.add("four", 4.0, sized(300))
    assert (kept.get("two", 0.0), len(kept), kept.used) == (None, 2, 750)
    kept.clear()
    assert (kept.used, len(kept), kept.peak) == (0, 0, 950)


@pytest.mark.parametrize("budget", [0, 50, 999])
def test_the_budget_is_never_exceeded_and_the_books_are_right(budget: int) -> None:
    kept: Kept[State] = Kept(budget)
    rng, held = random.Random(0), {}
    for key in range(500):
        if (value := kept.get(rng.randrange(key + 1), rng.random())) is None:
            value = sized(rng.randrange(1, 300))
        published = {"k": value.x} if rng.random() < 0.5 else {}
        held[key] = State(torch.zeros(rng.randrange(1, 300), dtype=torch.uint8), published)
        kept.add(key, rng.random(), held[key])
        alive = [tensor for k in held if kept.get(k, 0.0) is not None for tensor in held[k].tensors]
        assert kept.used == sum({t.data_ptr(): t.nbytes for t in alive}.values()) <= budget
    assert kept.peak <= budget
