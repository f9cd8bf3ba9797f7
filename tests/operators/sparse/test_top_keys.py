from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nas.operators.contract import Site

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
SITE = Site(embed_dim=20, tokens=42, domain="image", grid=(6, 7))


def test_all_keys_of_equal_score_are_full_attention(build: Callable[..., Any]) -> None:
    layer, full = build("top_keys", SITE, **HEADS, keep=42), build("softmax", SITE, **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    nn.init.zeros_(layer.mixer.score.weight)
    x = torch.randn(2, 42, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_only_the_tokens_of_greatest_score_are_read_by_any_query(build: Callable[..., Any]) -> None:
    layer = build("top_keys", SITE, **HEADS, keep=5)
    x, values = torch.randn(1, 42, 20, dtype=torch.float64), []
    layer.projections.v.register_forward_hook(lambda *call: values.append(call[-1]))
    (gradient,) = torch.autograd.grad(layer(x).pow(2).sum(), values)
    touched = gradient[0].abs().sum((1, 2)).nonzero().flatten()
    scores = layer.mixer.score(x, 1)[0, :, 0]
    assert set(touched.tolist()) == set(scores.topk(5).indices.tolist())


def test_the_score_learns(build: Callable[..., Any]) -> None:
    layer = build("top_keys", SITE, **HEADS, keep=5)
    layer(torch.randn(2, 42, 20, dtype=torch.float64)).pow(2).sum().backward()
    assert layer.mixer.score.weight.grad.abs().min() > 0
