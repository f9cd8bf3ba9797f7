import random
from dataclasses import replace

import pytest
import torch

from nas import operators
from nas.arch import Arch
from nas.errors import MeasurementError
from nas.operators.contract import Site
from nas.profiling.parts import arch_parts, space_parts
from nas.profiling.pieces import cut_net, cut_part
from nas.profiling.plan import plan_nets, plan_parts
from nas.profiling.workload import Workload, workload
from nas.space import sample
from nas.supernet import Supernet, example_inputs
from tests.profiling.doubles import FakeRuntime
from tests.spaces import DIGITS, SHAPES, TEXT, names, shipped

SITE = Site(embed_dim=0, tokens=80, domain="causal")


def net_of(name: str) -> Supernet:
    return Supernet(shipped(name), SHAPES[name]).eval()


def load(net: Supernet, batch: int = 2, phase: str = "prefill") -> Workload:
    return workload(net.space, net.shape, batch=batch, phase=phase)  # type: ignore[arg-type]


CAUSAL = [name for name in names() if SHAPES[name].domain == "causal"]


@pytest.mark.parametrize(
    ("name", "phase"), [(name, "prefill") for name in names()] + [(name, "decode") for name in CAUSAL]
)
def test_parts_of_every_kind_and_operator_equal_their_slice(name: str, phase: str) -> None:
    net = net_of(name)
    chosen = {(part.group, part.stage): part for part in space_parts(net.space)}
    assert {group for group, _ in chosen} >= {"stem", "head", "ffn"}
    for part in chosen.values():
        shown = cut_part(net, part, load(net, phase=phase), seed=0).program(FakeRuntime()).outputs()
        assert shown and all(torch.isfinite(y).all() for y in shown)
        assert shown[0].shape[:2] == (2, 1) or phase == "prefill"


@pytest.mark.parametrize("name", CAUSAL)
def test_a_decoded_token_of_a_net_equals_the_last_of_a_whole_pass(name: str) -> None:
    net, rng = net_of(name), random.Random(0)
    for arch in (sample(net.space, rng) for _ in range(4)):
        logits, *state = cut_net(net, arch, load(net, phase="decode"), seed=3).program(FakeRuntime()).outputs()
        whole = net(example_inputs(net.shape, 2, 3), arch)
        torch.testing.assert_close(logits, whole[:, -1:], atol=1e-4, rtol=1e-4)
        assert logits.shape[1] == 1


def test_parts_in_a_row_are_the_network() -> None:
    net = net_of("pyramid_small")
    # parts are cut from the first block that offers them, and a gate acts inside its mixer's branch
    stages = net.space.largest().stages
    arch = Arch(tuple(replace(s, blocks=(replace(s.blocks[0], gate="none"),)) for s in stages))
    x = example_inputs(net.shape, 2, 0)
    with torch.inference_mode():
        expected = net(x, arch)
        for part in arch_parts(arch):
            x = cut_part(net, part, load(net), seed=0).module(x)
    assert len(arch_parts(arch)) == 7
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", names())
def test_every_part_of_an_arch_is_a_part_of_the_space(name: str) -> None:
    space, rng = shipped(name), random.Random(0)
    known = {part.key for part in space_parts(space)}
    assert len(known) == len(space_parts(space))
    for _ in range(20):
        assert {part.key for part in arch_parts(sample(space, rng))} <= known


@pytest.mark.parametrize("name", ["lm_small", "vit_small"])
def test_part_that_reads_what_an_earlier_block_published_is_timed_without_that_block(name: str) -> None:
    net = net_of(name)
    parts = [part for part in space_parts(net.space) if part.group == "reused_kv"]
    heads = {(part.operator["num_heads"], part.operator["num_kv_heads"]) for part in parts}
    assert len(parts) == len(net.space.stages[0].embed_dims) * len(heads)
    assert heads >= {(4, 1), (4, 2), (4, 4)}
    for part in parts[:3]:
        cut = cut_part(net, part, load(net), seed=0)
        own = operators.get("reused_kv").cost(operators.parse(part.operator), replace(SITE, embed_dim=part.embed_dim))
        assert sum(p.numel() for p in cut.module.parameters()) == own.params + 3 * part.embed_dim
        shape = (2, part.operator["num_kv_heads"], SHAPES[name].tokens if name == "lm_small" else 49, 16)
        assert [published.shape for published in cut.inputs[1:]] == [shape, shape]


def test_module_that_differs_from_its_slice_is_refused() -> None:
    net = net_of("digits_tiny")
    cut = cut_net(net, net.space.largest(), load(net, 1), seed=0)
    with torch.no_grad():
        net.head.out.bias += 0.1
    with pytest.raises(MeasurementError, match=r"equals its supernet slice; arch [0-9a-f]{16} differs by.*corners"):
        cut.program(FakeRuntime())


def test_runtime_that_computes_something_else_is_refused() -> None:
    net = net_of("digits_tiny")
    cut = cut_net(net, net.space.largest(), load(net, 1), seed=0)
    with pytest.raises(MeasurementError, match=r"differs by.*runtime 'eager' computes something else"):
        cut.program(FakeRuntime(error=0.1))


def test_part_that_the_space_lacks_is_refused() -> None:
    part = next(p for p in space_parts(shipped("lm_tiny")) if p.group == "window")
    net = net_of("digits_tiny")
    with pytest.raises(MeasurementError, match="no block of space 'digits_tiny' offers mixer/0/"):
        cut_part(net, part, load(net, 1), seed=0)


def test_example_inputs_have_the_task_shape() -> None:
    assert example_inputs(DIGITS, 3, 0).shape == (3, 1, 8, 8)
    tokens = example_inputs(TEXT, 3, 0)
    assert tokens.shape == (3, 80) and tokens.dtype == torch.int64 and tokens.min() >= 0 and tokens.max() < 256
    assert torch.equal(tokens, example_inputs(TEXT, 3, 0)) and not torch.equal(tokens, example_inputs(TEXT, 3, 1))


def test_any_beginning_of_the_parts_has_all_groups() -> None:
    parts = plan_parts(shipped("lm_small"), random.Random(0))
    groups = {part.group for part in parts}
    inner = [part for part in parts if part.kind not in ("stem", "head", "transition")]
    assert {part.group for part in inner[: len(groups) - 2]} == groups - {"stem", "head"}
    assert set(parts) == set(space_parts(shipped("lm_small")))


def test_planned_nets_are_apart_spread_and_legal() -> None:
    space = shipped("lm_tiny")
    plan = plan_nets(space, TEXT, calibrate=40, held_out=20, pool=60, seed=0)
    kinds = (plan.corners, plan.calibrate, plan.held_out, plan.pool)
    assert [len(nets) for nets in kinds[1:]] == [40, 20, 60]
    together = [arch for nets in kinds for arch in nets]
    assert len({arch.digest for arch in together}) == len(together)
    assert all(arch in space for arch in together)
    assert space.largest() in plan.corners and space.smallest() in plan.corners
    for name in space.operator_names():
        assert sum(any(block.operator.name == name for block in arch.blocks) for arch in plan.pool) >= 5
    assert plan == plan_nets(space, TEXT, calibrate=40, held_out=20, pool=60, seed=0)
    assert plan != plan_nets(space, TEXT, calibrate=40, held_out=20, pool=60, seed=1)
