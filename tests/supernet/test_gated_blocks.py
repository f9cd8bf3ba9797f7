"""Gates inside a network: what they read of the mixer's input and of earlier blocks is there on every path."""

import random
from dataclasses import replace

import pytest
import torch

from nas.space import sample
from nas.supernet import Supernet, decode, extract
from nas.supernet.prefix import State, Walk
from nas.supernet.stem import example_inputs
from tests.spaces import SHAPES, shipped


def gated(name: str, *gates: str) -> Supernet:
    space = shipped(name)
    stages = tuple(replace(s, blocks=tuple(replace(b, gates=gates) for b in s.blocks)) for s in space.stages)
    return Supernet(replace(space, stages=stages), SHAPES[name]).eval()


@pytest.mark.parametrize("gate", ["previous_channels", "attentional_fusion", "triplet"])
@torch.no_grad()
def test_walks_and_extracted_networks_equal_the_whole_pass(gate: str) -> None:
    net, rng = gated("vit_tiny", gate), random.Random(0)
    inputs, walk = example_inputs(net.shape, 2, 0), Walk(net)
    for arch in (sample(net.space, rng) for _ in range(4)):
        state = State(inputs)
        for step in walk.steps(arch):
            state = step.run(state)
        assert torch.equal(net.head(state.x), net(inputs, arch))
        assert torch.equal(extract(net, arch).eval()(inputs), net(inputs, arch))


@torch.no_grad()
def test_decoding_through_a_fusion_equals_the_whole_pass() -> None:
    net = gated("lm_tiny", "token_fusion")
    arch = net.space.largest()
    inputs = example_inputs(net.shape, 1, 0)[:, :9]
    whole = net(inputs, arch)
    state = decode.prefill(net, inputs[:, :8], arch)
    out, _ = decode.step(net, inputs[:, 8:], arch, state)
    torch.testing.assert_close(out[:, -1], whole[:, -1], rtol=1e-4, atol=1e-4)
