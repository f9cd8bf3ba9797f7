import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Context, Site
from nas.operators.sparse.predicted_mask import true_map

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="sequence")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


@pytest.mark.parametrize("block_size", [1, 4])
def test_everything_kept_is_full_attention(build: Callable[..., Any], block_size: int) -> None:
    layer = build("predicted_mask", site(18), **HEADS, block_size=block_size, topk=18, rank=3, predictor_dim=3)
    full = build("softmax", site(18), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(18)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_identities_of_full_rank_predict_the_attention_map_itself(build: Callable[..., Any]) -> None:
    layer = build("predicted_mask", site(12), **HEADS, block_size=1, topk=3, rank=12, predictor_dim=6)
    for square in (layer.mixer.queries.weight, layer.mixer.keys.weight, layer.mixer.down, layer.mixer.basis):
        nn.init.eye_(square)
    x = inputs(12)
    q, k = layer.projections.query(x, 4, 6, 2), layer.projections.key(x, 2, 6)
    scores = q @ k.repeat_interleave(2, dim=1).transpose(-1, -2) / 6**0.5
    predicted = layer.mixer.predicted(q, k, layer.knobs)
    torch.testing.assert_close(predicted, scores.softmax(-1), atol=1e-12, rtol=0)
    torch.testing.assert_close(predicted, true_map(q, k, 1), atol=1e-12, rtol=0)
    context = Context(site(12))
    layer.mixer(x, layer.projections, layer.knobs, context)
    assert context.penalties[0] < 1e-20


def test_rows_of_the_map_by_blocks_add_up_to_one() -> None:
    q, k = torch.randn(2, 4, 18, 6).double(), torch.randn(2, 2, 18, 6).double()
    rows = true_map(q, k, 4)
    assert rows.shape == (2, 4, 5, 5)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 4, 5).double(), atol=1e-12, rtol=0)


def test_every_query_reads_as_many_blocks_as_it_keeps(build: Callable[..., Any]) -> None:
    heads = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 6}
    layer = build("predicted_mask", site(16), **heads, block_size=4, topk=2, rank=3, predictor_dim=3)
    keys: list[Tensor] = []
    layer.projections.k.register_forward_hook(lambda *call: keys.append(call[-1]))
    y = layer(inputs(16))
    for query in (0, 5, 15):
        (gradient,) = torch.autograd.grad(y[0, query].pow(2).sum(), keys, retain_graph=True)
        read = gradient[0].abs().sum((1, 2)).nonzero().flatten()
        assert len(read) == 8 and len(set((read // 4).tolist())) == 2


def test_the_predictor_learns_from_the_penalty_alone(build: Callable[..., Any]) -> None:
    layer = build("predicted_mask", site(16), **HEADS, block_size=4, topk=2, rank=3, predictor_dim=3)
    context = Context(site(16))
    y = layer.mixer(inputs(16), layer.projections, layer.knobs, context)
    own = list(layer.mixer.parameters())
    by_output = torch.autograd.grad(y.pow(2).sum(), own, retain_graph=True, allow_unused=True, materialize_grads=True)
    by_penalty = torch.autograd.grad(context.penalties[0], own)
    assert not any(gradient.any() for gradient in by_output)
    assert all(gradient.any() for gradient in by_penalty)


def test_a_predictor_wider_than_a_head_is_refused() -> None:
    with pytest.raises(ArchError, match=re.escape("predictor_dim must be at most head_dim (6), got 7")):
        operators.parse(OperatorArch.of("predicted_mask", **HEADS, block_size=4, topk=2, rank=3, predictor_dim=7))
