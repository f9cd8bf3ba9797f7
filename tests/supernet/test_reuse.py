import itertools
import random
from copy import deepcopy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context
from nas.space import SearchSpace, crossover, load_space, mutate, sample
from nas.space.space import settle
from nas.supernet import Supernet, extract, network_cost
from nas.supernet.block import Block
from tests.spaces import FASHION, TEXT, raw, shipped
from tests.supernet.threads import differing_in_threads

MLP = FfnArch("mlp", 2.0)


def block(name: str, num_kv_heads: int, **knobs: int) -> BlockArch:
    return BlockArch(OperatorArch.of(name, num_heads=4, num_kv_heads=num_kv_heads, head_dim=16, **knobs), MLP)


def stage(*blocks: BlockArch) -> Arch:
    return Arch((StageArch(64, blocks),))


def small() -> SearchSpace:
    values = raw("lm_small")
    values["stages"][0]["depth"] = [2, 3, 4]
    own = values["stages"][0]["blocks"][0]["operators"]
    kept = {name: own[name] for name in ("softmax", "window", "block_routing")}
    values["stages"][0]["block"]["operators"] = {**kept, "reused_kv": {}, "none": {}}
    values["stages"][0]["blocks"][0]["operators"] = {**kept, "none": {}}
    return load_space(values)


@pytest.fixture(scope="module")
def net() -> Supernet:
    torch.manual_seed(0)
    made = Supernet(small(), TEXT).eval()
    for parameter in made.parameters():  # no gain or shift may hide a mistake by being one or zero
        nn.init.normal_(parameter, std=0.2)
    return made.double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randint(256, (2, 80), generator=torch.Generator().manual_seed(1))


def reusing(space: SearchSpace, count: int) -> list[Arch]:
    rng = random.Random(0)
    drawn = (sample(space, rng) for _ in range(400 * count))
    found = (a for a in drawn if sum(b.operator.name == "reused_kv" for b in a.blocks) > 1)
    return list(itertools.islice(found, count))


def by_hand(net: Supernet, x: Tensor, arch: Arch) -> Tensor:
    """The two blocks with every k, v and score written out."""
    x = net.stem(x, 64)
    kept: tuple[Tensor, Tensor] | None = None
    for module, b in zip(cast(nn.ModuleList, net.stages[0]), arch.blocks, strict=False):
        module, heads = cast(Block, module), operators.parse(b.operator)
        own = cast(Any, module.projections_of(b.operator.name))
        y = cast(nn.Module, module.norm)(x)
        kept = kept or (own.key(y, heads.num_kv_heads, 16), own.value(y, heads.num_kv_heads, 16))
        mask = torch.ones(80, 80).tril().bool()
        mixed = attention.reference(own.query(y, 4, 16, heads.num_kv_heads), *kept, mask)
        x = x + module.scales[b.operator.name][:64] * own.output(mixed, 64, heads.num_kv_heads)
        x = x + cast(Tensor, module.ffn_scale)[:64] * cast(Any, module.ffn)(cast(Any, module.ffn_norm)(x), b.ffn)
    return cast(Tensor, net.head(x))


def test_second_block_attends_to_keys_and_values_of_the_first(net: Supernet, x: Tensor) -> None:
    arch = stage(block("softmax", 2), block("reused_kv", 2))
    assert arch in net.space
    torch.testing.assert_close(net(x, arch), by_hand(net, x, arch), atol=1e-10, rtol=0)


def test_extracted_equals_slice_bitwise(net: Supernet, x: Tensor) -> None:
    single = deepcopy(net).float()
    for arch in reusing(net.space, 6):
        alone = extract(single, arch)
        assert torch.equal(alone(x), single(x, arch)), arch.to_json()
        assert network_cost(net.space.frame, TEXT, arch).params == sum(p.numel() for p in alone.parameters())


def test_reuse_saves_one_cache_and_two_projections(net: Supernet) -> None:
    both, one = stage(block("softmax", 2), block("softmax", 2)), stage(block("softmax", 2), block("reused_kv", 2))
    full, saved = (network_cost(net.space.frame, TEXT, arch) for arch in (both, one))
    assert full.kv_cache_bytes == 2 * saved.kv_cache_bytes
    assert full.params - saved.params == 2 * 2 * 16 * 64


def test_gradients_reach_the_publishers_projections_through_the_reader(x: Tensor) -> None:
    torch.manual_seed(0)
    net = Supernet(small(), TEXT).double()
    arch = stage(block("softmax", 2), block("reused_kv", 2))
    first = cast(Block, cast(nn.ModuleList, net.stages[0])[0])
    nn.init.zeros_(first.scales["softmax"])  # the first block's own output is cut off
    net(x, arch).square().mean().backward()
    own = cast(Any, first.projections_of("softmax"))
    assert own.k.weight.grad.any() and own.v.weight.grad.any()
    assert not own.q.weight.grad.any()


def test_decoding_block_by_block_equals_a_whole_pass(net: Supernet) -> None:
    arch = stage(block("softmax", 2), block("reused_kv", 2), block("reused_kv", 2))
    blocks = [cast(Block, b) for b in cast(nn.ModuleList, net.stages[0])]
    pairs = [
        (b.mixers[a.operator.name], b.projections_of(a.operator.name), a)
        for b, a in zip(blocks, arch.blocks, strict=False)
    ]
    site = Context(net._sites[0]).site
    x = torch.randn(1, 12, 64, dtype=torch.float64)

    def run(x: Tensor, states: list[Any] | None) -> tuple[Tensor, list[Any]]:
        context, new = Context(site), []
        for i, (mixer, projections, a) in enumerate(pairs):
            knobs = operators.parse(a.operator)
            if states is None:
                x = cast(nn.Module, mixer)(x, projections, knobs, context)
            else:
                x, state = cast(Any, mixer).step(x, projections, knobs, context, states[i])
                new.append(state)
        return x, new

    states, steps = [None] * 3, []
    for token in x.split(1, dim=1):
        y, states = run(token, states)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, dim=1), run(x, None)[0], atol=1e-10, rtol=0)
    assert states[1:] == [None, None]


def test_order_of_calls_and_threads_do_not_matter(net: Supernet, x: Tensor) -> None:
    chosen = reusing(net.space, 6)
    with torch.no_grad():
        alone = [net(x, arch) for arch in chosen]
        assert all(torch.equal(net(x, arch), alone[i]) for i, arch in reversed(list(enumerate(chosen))))
    assert not differing_in_threads(net, x, chosen, alone)


@pytest.mark.parametrize("name", ["lm_small", "vit_small"])
def test_shipped_spaces_draw_vary_and_cross_it_legally(name: str) -> None:
    space, rng = shipped(name), random.Random(0)
    archs = reusing(space, 12)
    assert len(archs) == 12
    for one, other in zip(archs, archs[1:], strict=False):
        assert mutate(space, one, rng, rate=0.5) in space and crossover(space, one, other, rng) in space


def test_a_block_that_cannot_follow_takes_the_publishers_layout_or_gives_way(net: Supernet) -> None:
    def settled(*blocks: BlockArch) -> list[OperatorArch]:
        return [b.operator for b in settle(net.space, [(64, blocks)]).blocks]

    reused = block("reused_kv", 1)
    assert settled(block("softmax", 2), reused)[1] == block("reused_kv", 2).operator
    assert settled(block("window", 1, window_size=32), reused)[1] == block("softmax", 1).operator
    assert settled(reused)[0] == block("softmax", 1).operator
    assert stage(block("softmax", 2), reused) not in net.space


def test_a_pyramid_never_reuses_across_stages() -> None:
    values = raw("pyramid_small")
    for spec in values["stages"]:
        spec["block"]["operators"] = {"softmax": {}, "reused_kv": {}}
        spec["blocks"] = {0: {"operators": {"softmax": {}}}}
    space, second = load_space(values), values["stages"][1]
    drawn = [sample(space, random.Random(seed)) for seed in range(100)]
    assert all(s.blocks[0].operator.name == "softmax" for arch in drawn for s in arch.stages)
    del second["blocks"]
    with pytest.raises(ArchError, match="block 0 offers reused_kv, which can follow no operator"):
        load_space(values)
    torch.manual_seed(0)
    arch = space.largest("reused_kv")
    first, last = arch.stages
    crossing = Arch((first, StageArch(last.embed_dim, last.blocks[1:])))
    assert arch in space and crossing not in space
    # the stage's block 0 has no reused_kv at all, so cross at block 1 behind a block that only has an FFN
    bare = Arch((first, StageArch(last.embed_dim, (BlockArch(OperatorArch("none"), MLP), *last.blocks[1:]))))
    with pytest.raises(ArchError, match=r"'k' is not among \[\]"):
        Supernet(space, FASHION)(torch.randn(1, 1, 28, 28), bare)


def test_a_block_of_readers_alone_is_refused() -> None:
    values = raw("lm_small")
    values["stages"][0]["blocks"][1] = {"operators": {"reused_kv": {}}}
    with pytest.raises(ArchError, match="block 1 offers only operators that need an earlier block"):
        load_space(values)
