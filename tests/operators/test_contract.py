from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Context, Operator
from tests.operators.cases import KNOBS
from tests.operators.harness import (
    SIZES,
    Case,
    Layer,
    all_cases,
    build,
    corner,
    counted,
    counted_flops,
    extract,
    gradients,
    grown,
    more_query_heads,
)

CASES = all_cases()
CAUSAL = [case for case in CASES if case.domain == "causal"]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_causal_case = pytest.mark.parametrize("case", CAUSAL, ids=str)


def assert_same_state(got: Any, expected: Any) -> None:
    (got_leaves, got_tree), (leaves, tree) = tree_flatten(got), tree_flatten(expected)
    assert got_tree == tree
    assert all(leaf is None or isinstance(leaf, Tensor) for leaf in got_leaves)
    torch.testing.assert_close(got_leaves, leaves, atol=1e-10, rtol=1e-10)


def test_every_operator_has_cases() -> None:
    assert set(KNOBS) == set(operators.names())


@pytest.mark.parametrize("name", operators.names())
def test_domains_are_stated(name: str) -> None:
    domains = operators.get(name).domains
    assert domains
    assert domains <= set(SIZES)


@every_case
def test_forward_and_gradients_equal_the_reference(case: Case) -> None:
    for site in SIZES[case.domain]:
        case.operator.check(case.knobs, site)
        rig = build(case, site)
        x = rig.inputs().requires_grad_()
        fast_context, slow_context = Context(site), Context(site)
        fast, slow = rig(x, fast_context), rig.reference(x, slow_context)
        torch.testing.assert_close(fast, slow, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(fast_context.penalties, slow_context.penalties, atol=1e-10, rtol=1e-10)
        cotangent = torch.randn_like(fast)
        got = gradients(rig, x, fast, fast_context.penalties, cotangent)
        want = gradients(rig, x, slow, slow_context.penalties, cotangent)
        torch.testing.assert_close(got, want, atol=1e-8, rtol=1e-8)


@every_case
def test_output_is_finite_and_shaped_like_the_input(case: Case) -> None:
    for site in SIZES[case.domain]:
        rig = build(case, site, torch.float32)
        x = rig.inputs()
        y = rig(x)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert y.isfinite().all()


@every_case
def test_what_is_published_and_consumed_is_declared(case: Case) -> None:
    rig = build(case)
    x, fast, slow = rig.inputs(), Context(rig.site), Context(rig.site)
    rig(x, fast), rig.reference(x, slow)
    before = type(rig.source.mixer).publishes if rig.source else frozenset()
    assert case.operator.consumes <= before
    assert fast.published.keys() == slow.published.keys() == case.operator.publishes | before
    if case.operator.consumes:
        with pytest.raises(ArchError, match="put an operator that publishes it in front"):
            replace(rig, source=None)(x)


@every_causal_case
def test_a_step_publishes_what_a_whole_pass_would(case: Case) -> None:
    rig = build(case)
    x, whole, stepwise, ahead = rig.inputs(), Context(rig.site), Context(rig.site), Context(rig.site)
    rig(x, whole)
    rig.steps(x, context=stepwise)
    rig.prefill(x, ahead)
    torch.testing.assert_close(stepwise.published, whole.published, atol=1e-12, rtol=0)
    torch.testing.assert_close(ahead.published, whole.published, atol=1e-12, rtol=0)


@every_case
def test_samples_do_not_see_each_other(case: Case) -> None:
    rig = build(case)
    rig.mixer.eval()
    x = rig.inputs(batch=3)
    alone = torch.cat([rig(sample) for sample in x.split(1)])
    torch.testing.assert_close(rig(x), alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("case", [case for case in CASES if ("order", "shuffled") not in case.arch.knobs], ids=str)
def test_channels_keep_their_places_at_every_width(case: Case) -> None:
    """A narrower subnet is the wider one without the weights of the further channels: one weight has one meaning."""
    narrow = extract(build(case))
    wide = grown(narrow, narrow.knobs, 2 * case.site.embed_dim)
    narrow.mixer.eval(), wide.mixer.eval()
    x = narrow.inputs()
    y, z = narrow(x), wide(torch.cat((x, torch.zeros_like(x)), dim=-1))[..., : x.shape[-1]]
    # alike, not the same, where scores or norms are scaled by the width
    assert (y * z).sum() >= 0.95 * y.norm() * z.norm()


@pytest.mark.parametrize("pair", [*filter(None, map(more_query_heads, CASES))], ids=lambda pair: str(pair[0]))
def test_query_heads_keep_their_kv_heads_however_many_there_are(pair: tuple[Case, Any]) -> None:
    case, knobs = pair
    few = extract(build(case))
    with torch.no_grad():
        for parameter in few.mixer.parameters():
            parameter.add_(torch.randn_like(parameter))
    many = grown(few, knobs, case.site.embed_dim)
    few.mixer.eval(), many.mixer.eval()
    x = few.inputs()
    y, z = few(x), many(x)
    # alike, not the same, where heads are weighed against each other
    assert (y * z).sum() >= 0.95 * y.norm() * z.norm()


@every_case
def test_two_runs_agree_bitwise(case: Case) -> None:
    rig = build(case, dtype=torch.float32)
    x = rig.inputs()
    assert torch.equal(rig(x), rig(x))


@every_causal_case
def test_later_tokens_do_not_change_earlier_outputs(case: Case) -> None:
    for site in SIZES["causal"]:
        rig = build(case, site)
        x = rig.inputs()
        for last in {0, 2, 7, 40} & set(range(site.tokens - 1)):
            other = x.clone()
            other[:, last + 1 :] = 3 * torch.randn_like(other[:, last + 1 :])
            seen = slice(0, last + 1)
            torch.testing.assert_close(rig(x)[:, seen], rig(other)[:, seen], atol=1e-12, rtol=0)


@every_causal_case
def test_decoding_token_by_token_equals_forward(case: Case) -> None:
    rig = build(case)
    rig.mixer.eval()
    x = rig.inputs()
    torch.testing.assert_close(rig.steps(x)[0], rig(x), atol=1e-10, rtol=1e-10)


@every_causal_case
@pytest.mark.parametrize("count", [1, 31, 62])
def test_decoding_after_a_prefill_equals_forward_and_steps(case: Case, count: int) -> None:
    rig = build(case, replace(case.site, tokens=63))
    rig.mixer.eval()
    x = rig.inputs()
    state = rig.prefill(x[:, :count])
    assert_same_state(state, rig.steps(x[:, :count])[1])
    torch.testing.assert_close(rig.steps(x[:, count:], state)[0], rig(x)[:, count:], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", [case for case in CAUSAL if case.number == 0], ids=str)
@pytest.mark.parametrize("defaults", [("prefill",), ("prefill", "step")], ids="+".join)
def test_the_contracts_own_decoding_is_right(
    case: Case, defaults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in defaults:
        monkeypatch.setattr(case.operator, name, getattr(Operator, name))
    rig, whole, ahead = build(case), Context(case.site), Context(case.site)
    x = rig.inputs()
    rig(x[:, :9], whole)
    state = rig.prefill(x[:, :9], ahead)
    torch.testing.assert_close(ahead.published, whole.published, atol=1e-12, rtol=0)
    assert_same_state(state, rig.steps(x[:, :9])[1])
    torch.testing.assert_close(rig.steps(x[:, 9:], state)[0], rig(x)[:, 9:], atol=1e-10, rtol=1e-10)


@every_causal_case
def test_what_decoding_keeps_is_what_the_cost_says(case: Case) -> None:
    for site in SIZES["causal"]:
        rig = build(case, site, torch.float32)
        _, kept = rig.prefill(rig.inputs(batch=1))
        leaves = [leaf for leaf in tree_leaves(kept) if leaf is not None]
        assert case.operator.cost(case.knobs, site).kv_cache_bytes == sum(4 * leaf.numel() for leaf in leaves)


@every_causal_case
def test_a_step_costs_about_one_token_of_a_whole_pass(case: Case) -> None:
    rig = extract(build(case, replace(case.site, tokens=64), torch.float32))
    x, published = rig.inputs(batch=1), Context(rig.site)
    before, state = rig.prefill(x[:, :-1])
    if rig.source:
        rig.source.step(x[:, -1:], before, published)
    step = partial(rig.mixer.step, x[:, -1:], rig.projections, rig.knobs, published, state)
    assert 64 * counted(lambda: step()[0]) <= 4 * case.operator.cost(case.knobs, rig.site).flops


@every_case
def test_every_parameter_is_a_leading_corner(case: Case) -> None:
    rig = build(case, dtype=torch.float32)
    alone = extract(rig)
    x = rig.inputs()
    assert torch.equal(rig(x), alone(x))


@every_case
def test_gradients_stay_inside_the_corner(case: Case) -> None:
    rig = build(case)
    shapes = {name: value.shape for name, value in extract(rig).modules().named_parameters()}
    x, context = rig.inputs().requires_grad_(), Context(rig.site)
    y = rig(x, context)
    found = gradients(rig, x, y, context.penalties, torch.randn_like(y))
    found.pop("x")
    for name, gradient in found.items():
        if name in shapes:
            corner(gradient, shapes[name]).zero_()
        assert not gradient.any(), name


@pytest.mark.parametrize("case", [case for case in CASES if case.number == 0], ids=str)
def test_export_needs_no_forward_pass_before(case: Case) -> None:
    grid = (3, 7) if case.domain == "image" else None
    rig = build(case, replace(case.site, tokens=21, grid=grid), torch.float32)
    layer, x = Layer(rig).eval(), rig.inputs(batch=1)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), layer(x))


@every_case
def test_params_of_the_cost_are_those_of_the_extracted_modules(case: Case) -> None:
    alone = extract(build(case))
    counted = sum(parameter.numel() for parameter in alone.modules().parameters())
    assert case.operator.cost(case.knobs, case.site).params == counted


@every_case
def test_flops_of_the_cost_are_those_that_torch_counts(case: Case) -> None:
    for site in SIZES[case.domain]:
        alone = extract(build(case, site, torch.float32))
        assert case.operator.cost(case.knobs, site).flops == counted_flops(alone)


@every_case
def test_sparsity_and_rank_are_in_range(case: Case) -> None:
    for site in SIZES[case.domain]:
        cost = case.operator.cost(case.knobs, site)
        assert cost.kv_cache_bytes >= 0
        assert 0.0 <= case.operator.sparsity(case.knobs, site) <= 1.0
        rank = case.operator.rank(case.knobs, site)
        assert rank == 0 if case.arch.name == "none" else rank > 0


@pytest.mark.parametrize("name", sorted(KNOBS))
def test_sizes_are_whole_numbers_of_at_least_one(name: str) -> None:
    for knob in (knob for knob, value in KNOBS[name][0].items() if isinstance(value, int)):
        least = 0 if knob == "num_sink" else 1
        for wrong in (least - 1, -7, 2.5, "two"):
            with pytest.raises(ArchError, match=f"{knob} must be a whole number of at least {least}, got {wrong!r}"):
                operators.parse(OperatorArch.of(name, **{**KNOBS[name][0], knob: wrong}))


@pytest.mark.parametrize("name", sorted(KNOBS))
def test_wrong_knobs_are_named(name: str) -> None:
    with pytest.raises(ArchError, match=f"{name}.*surplus"):
        operators.parse(OperatorArch.of(name, **KNOBS[name][0], surplus=1))
