import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="sequence")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


@pytest.mark.parametrize("num_routed", [1, 2, 3, 4, 6])
def test_all_tokens_with_open_gates_are_full_attention(build: Callable[..., Any], num_routed: int) -> None:
    layer = build("expert_choice", site(17), **HEADS, num_routed=num_routed, reduction=1)
    full = build("softmax", site(17), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    # a constant input drives every gate to exactly one
    nn.init.zeros_(layer.mixer.router)
    with torch.no_grad():
        layer.mixer.router[:, 0] = 60.0
    x = inputs(17)
    x[..., 0] = 1.0
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_tokens_that_no_head_picks_get_nothing(build: Callable[..., Any]) -> None:
    layer = build("expert_choice", site(40), **HEADS, num_routed=6, reduction=20)
    x = inputs(40)
    y = layer(x)[0]
    scores = x[0] @ layer.mixer.router.T
    picked = set(scores.topk(2, dim=0).indices.flatten().tolist())
    assert len(picked) < 40
    assert set(y.abs().sum(-1).nonzero().flatten().tolist()) == picked


def test_the_router_learns_through_the_gates(build: Callable[..., Any]) -> None:
    layer = build("expert_choice", site(40), **HEADS, num_routed=4, reduction=4)
    layer(inputs(40)).pow(2).sum().backward()
    touched = layer.mixer.router.grad.abs().sum(-1) > 0
    # the three of kv head 0, which are stored as heads 0, 2 and 4, and the first of kv head 1
    assert touched.nonzero().flatten().tolist() == [0, 1, 2, 4]


def test_pairs_of_routed_heads_fall_with_the_square_of_the_reduction() -> None:
    mixer = operators.get("expert_choice")
    pairs = [mixer.cost(mixer.knobs_type(**HEADS, num_routed=6, reduction=r), site(64)).pairs for r in (1, 2, 4)]
    assert pairs == [64**2, 32**2, 16**2]


def test_more_routed_heads_than_heads_are_refused() -> None:
    with pytest.raises(ArchError, match=re.escape("num_routed must be at most num_heads = 6, got 7")):
        operators.parse(OperatorArch.of("expert_choice", **HEADS, num_routed=7, reduction=2))
