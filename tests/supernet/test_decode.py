import random
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves

from nas.arch import OFF, Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.errors import ArchError
from nas.shapes import TaskShape, TokenShape
from nas.space import SearchSpace, load_space, sample
from nas.supernet import Share, Sharing, Supernet, decode, example_inputs, extract, network_cost
from nas.supernet.decode import DecodeState
from tests.operators.harness import counted
from tests.spaces import DIGITS, SHAPES, TEXT, names, raw, shipped

CAUSAL = [name for name in names() if SHAPES[name].domain == "causal"]


def made(space: SearchSpace, shape: TaskShape, share: Share = "all") -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space, shape, sharing=Sharing(share)).eval()
    for parameter in net.parameters():  # no gain, shift or scale may hide a mistake by being one or zero
        torch.nn.init.normal_(parameter, std=0.3)
    return net.double()


@pytest.fixture(params=CAUSAL, scope="module")
def net(request: pytest.FixtureRequest) -> Supernet:
    return made(shipped(request.param), SHAPES[request.param])


def archs(space: SearchSpace, count: int) -> list[Arch]:
    rng = random.Random(0)
    return [*space.anchors().values(), *(sample(space, rng) for _ in range(count))]


def steps(net: Supernet, tokens: Tensor, arch: Arch, state: DecodeState) -> tuple[Tensor, DecodeState]:
    logits = []
    for token in tokens.split(1, dim=1):
        out, state = decode.step(net, token, arch, state)
        logits.append(out)
    return torch.cat(logits, dim=1), state


def assert_same(got: DecodeState, expected: DecodeState) -> None:
    (got_leaves, got_tree), (leaves, tree) = tree_flatten(got), tree_flatten(expected)
    assert got_tree == tree
    torch.testing.assert_close(got_leaves, leaves, atol=1e-9, rtol=1e-9)


def check(net: Supernet, arch: Arch, counts: tuple[int, ...]) -> None:
    x = example_inputs(net.shape, 2, seed=0)
    whole, state = net(x, arch), decode.start(arch)
    logits, _ = steps(net, x, arch, state)
    torch.testing.assert_close(logits, whole, atol=1e-8, rtol=1e-8)
    for count in counts:
        state = decode.prefill(net, x[:, :count], arch)
        assert_same(state, steps(net, x[:, :count], arch, decode.start(arch))[1])
        logits, after = steps(net, x[:, count:], arch, state)
        torch.testing.assert_close(logits, whole[:, count:], atol=1e-8, rtol=1e-8)
        assert (state.tokens, after.tokens) == (count, x.shape[1])


@torch.no_grad()
def test_prefill_and_steps_equal_a_whole_pass(net: Supernet) -> None:
    for arch in archs(net.space, 6):
        check(net, arch, (37,))
    check(net, net.space.largest(), (1, 2, 33, example_inputs(net.shape, 1, 0).shape[1] - 1))


@torch.no_grad()
def test_extracted_equals_slice_bitwise(net: Supernet) -> None:
    single, x = deepcopy(net).float(), example_inputs(net.shape, 2, seed=0)
    for arch in archs(net.space, 6):
        alone = extract(single, arch)
        small, big = (decode.prefill(n, x[:, :40], arch) for n in (alone.net, single))
        for position in range(40, 44):
            got, small = decode.step(alone.net, x[:, position : position + 1], alone.arch, small)
            expected, big = decode.step(single, x[:, position : position + 1], arch, big)
            assert torch.equal(got, expected), arch.to_json()


@torch.no_grad()
def test_a_step_leaves_its_state_and_the_network_as_they_were(net: Supernet) -> None:
    x, arch = example_inputs(net.shape, 1, seed=0), net.space.largest()
    state = decode.prefill(net, x[:, :20], arch)
    kept = [leaf.clone() for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
    first, again = (decode.step(net, x[:, 20:21], arch, state) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert_same(first[1], again[1])
    assert all(map(torch.equal, kept, (leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor))))


def staged(conv: int) -> SearchSpace:
    """Two stages of different widths, with every causal operator and blocks that may be off."""
    values = raw("lm_small")
    stage = {**values["stages"][0], "depth": [2, 3]}
    stages = [{**stage, "embed_dim": [width, width + 8]} for width in (24, 40)]
    return load_space({**values, "stem": {"conv": conv}, "stages": stages})


@torch.no_grad()
@pytest.mark.parametrize("conv", [0, 1, 4])
def test_stages_of_other_widths_and_other_stems(conv: int) -> None:
    net, rng = made(staged(conv), TokenShape(vocab=32, tokens=24, classes=32)), random.Random(conv)
    for arch in (sample(net.space, rng) for _ in range(4)):
        check(net, arch, (1, 11, 23))


@torch.no_grad()
def test_blocks_that_are_off_and_readers_behind_them() -> None:
    net = made(shipped("lm_small"), TokenShape(vocab=32, tokens=24, classes=32))
    heads = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16}
    reader = BlockArch(OperatorArch.of("reused_kv", **heads))
    source = BlockArch(OperatorArch.of("block_routing", **heads, block_size=32, topk=2), FfnArch("mlp", 2))
    arch = Arch((StageArch(64, (source, OFF, reader, BlockArch(OFF.operator, FfnArch("mlp", 1)), reader)),))
    assert arch in net.space
    check(net, arch, (1, 11, 23))
    assert decode.prefill(net, torch.zeros(1, 3, dtype=torch.long), arch).blocks[1:] == (None,) * 4


@torch.no_grad()
@pytest.mark.parametrize("share", ["family", "none"])
def test_other_sharing_of_projections(share: Share) -> None:
    net = made(shipped("lm_tiny"), TEXT, share)
    check(net, net.space.largest(), (37,))


@torch.no_grad()
def test_the_state_is_as_large_as_the_cost_says(net: Supernet) -> None:
    x = example_inputs(net.shape, 1, seed=0)
    for arch in archs(net.space, 6):
        leaves = tree_leaves(decode.prefill(net, x, arch).blocks)
        numbers = sum(leaf.numel() for leaf in leaves if leaf is not None)
        assert network_cost(net.space.frame, net.shape, arch).kv_cache_bytes == 4 * numbers, arch.to_json()


@torch.no_grad()
def test_a_step_costs_one_token_of_a_whole_pass() -> None:
    net = made(shipped("lm_small"), TEXT)
    arch, x = net.space.largest("softmax"), example_inputs(TEXT, 1, seed=0)
    state = decode.prefill(net, x[:, :-1], arch)
    step = counted(lambda: decode.step(net, x[:, -1:], arch, state)[0])
    assert TEXT.tokens * step == network_cost(net.space.frame, TEXT, arch).flops


def test_networks_that_see_later_tokens_are_refused() -> None:
    net = Supernet(shipped("digits_tiny"), DIGITS)
    arch, token = net.space.smallest(), torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(ArchError, match="only a causal network .* got one of domain 'image': use a space"):
        decode.prefill(net, example_inputs(DIGITS, 1, seed=0), arch)
    with pytest.raises(ArchError, match="only a causal network .* got one of domain 'image'"):
        decode.step(net, token, arch, decode.start(arch))
    shape = TokenShape(vocab=8, tokens=8, classes=8, is_causal=False)
    both_ways = Supernet(load_space({**raw("lm_tiny"), "domain": "sequence"}), shape)
    with pytest.raises(ArchError, match="got one of domain 'sequence'"):
        decode.prefill(both_ways, token, both_ways.space.smallest())


def test_lengths_without_a_position_and_wrong_counts_of_tokens_are_refused() -> None:
    net = Supernet(shipped("lm_tiny"), TokenShape(vocab=8, tokens=5, classes=8))
    arch, x = net.space.smallest(), torch.zeros(1, 6, dtype=torch.long)
    full = decode.prefill(net, x[:, :5], arch)
    with pytest.raises(ArchError, match="at most the 5 tokens .* got 6: decode fewer"):
        decode.prefill(net, x, arch)
    with pytest.raises(ArchError, match="at most the 5 tokens .* got 6: decode fewer"):
        decode.step(net, x[:, :1], arch, full)
    with pytest.raises(ArchError, match=r"one token per sequence \[B, 1\], got \(1, 2\): use prefill"):
        decode.step(net, x[:, :2], arch, decode.start(arch))
    with pytest.raises(ArchError, match=r"at least one token, got \(1, 0\): begin with decode.start"):
        decode.prefill(net, x[:, :0], arch)
