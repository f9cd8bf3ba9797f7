import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.hybrid.routed_linear import soft_choice
from nas.operators.sparse_linear import block_means

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
BLOCKS = {"block_size": 4, "feature_map": "softmax"}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="sequence")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


def test_all_blocks_critical_with_the_whole_share_is_full_attention(build: Callable[..., Any]) -> None:
    layer, full = build("routed_linear", site(18), **HEADS, **BLOCKS, topk=5), build("softmax", site(18), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    nn.init.constant_(layer.mixer.shares, 60.0)
    x = inputs(18)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_without_a_share_the_sparse_branch_counts_for_nothing(build: Callable[..., Any]) -> None:
    layer = build("routed_linear", site(16), **HEADS, **BLOCKS, topk=3)
    nn.init.constant_(layer.mixer.shares, -60.0)
    x = inputs(16)
    q, k, v = (part.double() for part in _qkv(layer, x))
    scores = layer.mixer.scores(block_means(q, 4), block_means(k, 4))
    outside = scores < scores.topk(3).values[..., -1:]
    # one block is left to each row, so its linear attention is explicit
    left = outside.int().argmax(-1).repeat_interleave(4, dim=-1)
    weights = q.softmax(-1) @ attention.repeat_heads(k.softmax(-1), 4).transpose(-1, -2)
    weights = weights * (torch.arange(16) // 4 == left.unsqueeze(-1))
    far = (weights / weights.sum(-1, keepdim=True)) @ attention.repeat_heads(v, 4)
    torch.testing.assert_close(
        layer(x), layer.projections.output(far, 20, layer.knobs.num_kv_heads), atol=1e-12, rtol=0
    )


def _qkv(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p = layer.projections
    return p.query(x, 4, 6, 2), p.key(x, 2, 6), p.value(x, 2, 6)


def test_the_routers_start_as_the_pooled_scores(build: Callable[..., Any]) -> None:
    layer = build("routed_linear", site(16), **HEADS, **BLOCKS, topk=2)
    q, k = torch.randn(2, 4, 4, 6).double(), torch.randn(2, 2, 4, 6).double()
    pooled = q @ attention.repeat_heads(k, 4).transpose(-1, -2) / math.sqrt(6)
    torch.testing.assert_close(layer.mixer.scores(q, k), pooled.softmax(-1), atol=1e-12, rtol=0)


def test_exact_attention_is_the_blend_by_the_mass_of_the_chosen_pairs() -> None:
    scores, v = torch.randn(5, 9, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    inside = torch.rand(5, 9) < 0.4
    inside[:, 0], inside[:, 1] = True, False
    mass = (scores.softmax(-1) * inside).sum(-1, keepdim=True)
    near, far = (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v for hidden in (~inside, inside))
    torch.testing.assert_close(mass * near + (1 - mass) * far, scores.softmax(-1) @ v, atol=1e-12, rtol=0)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_rows_of_the_soft_choice_add_up_to_the_budget(count: int) -> None:
    scores = torch.randn(2, 3, 8, 8, dtype=torch.float64).softmax(-1)
    soft = soft_choice(scores, count)
    torch.testing.assert_close(soft.sum(-1), torch.full((2, 3, 8), float(count)).double(), atol=1e-8, rtol=0)
    assert torch.equal(soft.topk(count).indices, scores.topk(count).indices)


def test_the_routers_learn_in_training_only(build: Callable[..., Any]) -> None:
    layer = build("routed_linear", site(30), **HEADS, **BLOCKS, topk=2)
    layer(inputs(30)).pow(2).sum().backward()
    assert layer.mixer.routers.grad.abs().sum((1, 2)).min() > 0
    layer.mixer.eval()
    (gradient,) = torch.autograd.grad(
        layer(inputs(30)).pow(2).sum(), [layer.mixer.routers], allow_unused=True, materialize_grads=True
    )
    assert not gradient.any()


@pytest.mark.parametrize("tokens", [150, 300])
def test_long_sequences_agree_with_the_reference(build: Callable[..., Any], tokens: int) -> None:
    layer = build("routed_linear", site(tokens), **HEADS, block_size=16, topk=2, feature_map="relu")
    x = inputs(tokens)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), atol=1e-9, rtol=1e-9)
