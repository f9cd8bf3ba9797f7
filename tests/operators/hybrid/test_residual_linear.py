from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import Site
from nas.operators.sparse_linear import block_means

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
BLOCKS = {"block_size": 4, "feature_map": "softmax"}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="sequence")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


def test_all_blocks_critical_is_full_attention(build: Callable[..., Any]) -> None:
    layer = build("residual_linear", site(18), **HEADS, **BLOCKS, topk=5, num_marginal=1)
    full = build("softmax", site(18), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(18)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_it_starts_as_block_sparse_attention(build: Callable[..., Any]) -> None:
    layer = build("residual_linear", site(18), **HEADS, **BLOCKS, topk=2, num_marginal=3)
    x, p = inputs(18), layer.projections
    q, k, v = p.query(x, 4, 6, 2), p.key(x, 2, 6), p.value(x, 2, 6)
    scores = block_means(q, 4) @ attention.repeat_heads(block_means(k, 4), 4).transpose(-1, -2)
    pattern = Visibility(tokens=18, block_size=4, lists=scores.topk(2).indices)
    torch.testing.assert_close(layer(x), p.output(attention.sparse(q, k, v, pattern), 20, 2), atol=1e-12, rtol=0)


def test_the_marginal_state_is_the_whole_state_without_the_critical_blocks(build: Callable[..., Any]) -> None:
    states = torch.randn(5, 6, 6, dtype=torch.float64)
    layer = build("residual_linear", site(20), **HEADS, **BLOCKS, topk=2, num_marginal=9)
    scores = torch.randn(1, 1, 5, 5, dtype=torch.float64)
    critical = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(2).indices, True)
    marginal = layer.mixer.marginal(scores, critical, layer.knobs)
    rest = states.sum(0) - torch.einsum("qb,bij->qij", critical[0, 0].double(), states)
    torch.testing.assert_close(torch.einsum("qb,bij->qij", marginal[0, 0], states), rest, atol=1e-12, rtol=0)


def test_the_least_blocks_are_left_out(build: Callable[..., Any]) -> None:
    layer = build("residual_linear", site(20), **HEADS, **BLOCKS, topk=1, num_marginal=2)
    scores = torch.tensor([[[[5.0, 1.0, 4.0, 2.0, 3.0]]]])
    critical = scores == 5.0
    assert layer.mixer.marginal(scores, critical, layer.knobs).flatten().tolist() == [0, 0, 1, 0, 1]


def test_the_correction_learns_from_zero(build: Callable[..., Any]) -> None:
    layer = build("residual_linear", site(20), **HEADS, **BLOCKS, topk=1, num_marginal=2)
    layer(inputs(20)).pow(2).sum().backward()
    assert layer.mixer.correction.weight.grad.abs().max() > 0
    nn.init.eye_(layer.mixer.correction.weight)
    x = inputs(20)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), atol=1e-9, rtol=1e-9)


def test_unknown_feature_maps_are_refused() -> None:
    with pytest.raises(ArchError, match="feature_map must be one of softmax, elu_plus_one, relu, got 'exp'"):
        operators.parse(
            OperatorArch.of("residual_linear", **HEADS, block_size=4, topk=1, feature_map="exp", num_marginal=1)
        )
