"""Walking a network step by step gives what a whole pass gives, and equal prefixes are equal computations."""

import random
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.space import mutate, sample
from nas.supernet import Supernet
from nas.supernet.prefix import State, Walk
from nas.supernet.stem import example_inputs
from tests.spaces import SHAPES, shipped


def made(name: str) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(shipped(name), SHAPES[name]).eval()
    for parameter in net.parameters():  # no gain or shift may hide a mistake by being one or zero
        nn.init.normal_(parameter, std=0.2)
    return net


def family(net: Supernet, count: int) -> list[Arch]:
    rng = random.Random(1)
    drawn = [sample(net.space, rng) for _ in range(count)]
    return [arch for parent in drawn for arch in (parent, mutate(net.space, parent, rng, rate=0.1))]


@pytest.mark.parametrize("name", list(SHAPES))
@torch.no_grad()
def test_resumed_from_any_prefix_it_is_the_whole_pass_bit_for_bit(name: str) -> None:
    net = made(name)
    walk, inputs = Walk(net), example_inputs(net.shape, 2, 0)
    states: dict[int, State] = {}
    for arch in family(net, 12):
        state = State(inputs)
        for step in walk.steps(arch):
            state = states.setdefault(step.prefix, step.run(state) if step.prefix not in states else State(inputs))
        assert torch.equal(cast(Tensor, net.head(state.x)), net(inputs, arch)), arch.to_json()


@torch.no_grad()
def test_what_a_step_reads_is_left_as_it_was() -> None:
    net = made("lm_small")
    walk = Walk(net)
    for arch in family(net, 12):
        state = State(example_inputs(net.shape, 2, 0))
        for step in walk.steps(arch):
            before = [tensor.clone() for tensor in state.tensors], set(state.published)
            after = step.run(state)
            assert all(map(torch.equal, before[0], state.tensors)) and before[1] == set(state.published)
            state = after


def block(ratio: float = 2.0, operator: str = "softmax") -> BlockArch:
    knobs = {"kernel_size": 3} if operator == "depthwise" else {"num_heads": 2, "num_kv_heads": 2, "head_dim": 16}
    return BlockArch(OperatorArch.of(operator, **knobs), FfnArch("mlp", ratio))


def prefixes(walk: Walk, *stages: StageArch) -> list[int]:
    return [step.prefix for step in walk.steps(Arch(stages))]


def shared(one: list[int], other: list[int]) -> int:
    return sum(a == b for a, b in zip(one, other, strict=False))


def test_prefixes_end_where_archs_begin_to_differ() -> None:
    walk = Walk(made("lm_small"))
    base = StageArch(64, (block(), block(), block()))
    steps = prefixes(walk, base)
    assert len(steps) == 1 + 2 * 3
    assert shared(steps, prefixes(walk, replace(base, blocks=base.blocks[:2]))) == 5
    assert shared(steps, prefixes(walk, replace(base, blocks=(block(), block(1.0), block())))) == 4
    assert shared(steps, prefixes(walk, replace(base, blocks=(block(), block(2.0, "depthwise"), block())))) == 3
    assert shared(steps, prefixes(walk, replace(base, embed_dim=96))) == 0
    off = BlockArch(OperatorArch("none"))
    assert shared(steps, prefixes(walk, replace(base, blocks=(block(), off, block())))) == 3
    assert shared(steps, prefixes(walk, base)) == len(steps)


def test_a_pyramids_prefix_goes_on_into_the_next_stage_at_its_width() -> None:
    walk = Walk(made("pyramid_small"))
    first, second = StageArch(32, (block(2.0, "depthwise"),)), StageArch(64, (block(),))
    steps = prefixes(walk, first, second)
    assert len(steps) == 1 + 2 + 1 + 2
    assert shared(steps, prefixes(walk, first, replace(second, embed_dim=96))) == 3
    assert shared(steps, prefixes(walk, first, replace(second, blocks=(block(1.0),)))) == 5


@torch.no_grad()
def test_only_what_later_blocks_may_read_is_carried_on() -> None:
    arch = Arch((StageArch(64, (block(), block())),))
    for name, carried in (("lm_small", {"k", "v"}), ("lm_tiny", set())):
        net = made(name)
        state = State(example_inputs(net.shape, 1, 0))
        for step in Walk(net).steps(arch):
            state = step.run(state)
        assert set(state.published) == carried
