from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import operators
from nas.elastic import Projections
from nas.operators.contract import Site

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
ONE = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 6}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="causal")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


def read_by(layer: Any, x: Tensor, query: int) -> list[int]:
    """Tokens whose values reach a query."""
    values: list[Tensor] = []
    handle = layer.projections.v.register_forward_hook(lambda *call: values.append(call[-1]))
    y = layer(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(y[0, query].pow(2).sum(), values)
    found: list[int] = gradient[0].abs().sum((1, 2)).nonzero().flatten().tolist()
    return found


def test_a_window_over_everything_is_full_attention(build: Callable[..., Any]) -> None:
    layer = build("anchored_spans", site(30), **HEADS, window_size=30, topk=2, span_factor=2)
    full = build("softmax", site(30), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(30)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("query", [3, 15, 24, 63, 80])
def test_spans_of_all_anchors_reach_every_earlier_token(build: Callable[..., Any], query: int) -> None:
    layer = build("anchored_spans", site(81), **ONE, window_size=3, topk=9, span_factor=2)
    assert read_by(layer, inputs(81), query) == list(range(query + 1))


def test_anchors_lie_one_below_the_squares(build: Callable[..., Any]) -> None:
    layer = build("anchored_spans", site(64), **ONE, window_size=1, topk=1, span_factor=1)
    x, query = inputs(64), 63
    with torch.no_grad():
        ends = set()
        for offset in range(1, 64):
            # the key of one token alone answers the search
            layer.projections.k.weight.zero_()
            layer.projections.k.weight[0, 0, 0] = 1.0
            layer.mixer.search.weight.zero_()
            layer.mixer.search.weight[0, 0, 1] = 1.0
            x[..., 0], x[..., 1] = 0.0, 1.0
            x[:, query - offset, 0] = 9.0
            with torch.enable_grad():
                read = read_by(layer, x, query)
            if read[-2] == query - offset:
                ends.add(offset)
    assert ends >= {3, 8, 15, 24, 35, 48, 63}
    assert len(ends) == 7


def test_the_search_learns_and_starts_as_the_queries(build: Callable[..., Any]) -> None:
    layer = build("anchored_spans", site(40), **HEADS, window_size=4, topk=2, span_factor=2)
    layer(inputs(40)).pow(2).sum().backward()
    assert layer.mixer.search.weight.grad.abs().max() > 0
    wider = Projections(frozenset("qkvo"), 30, num_heads=8, num_kv_heads=4, head_dim=9).double()
    layer.mixer.inherit(wider)
    assert torch.equal(layer.mixer.search.weight, wider.q.weight[:4, :6, :20])


def test_pairs_grow_slower_than_the_square() -> None:
    mixer = operators.get("anchored_spans")
    knobs = mixer.knobs_type(**HEADS, window_size=32, topk=2, span_factor=2)
    short, long = (mixer.cost(knobs, site(tokens)) for tokens in (1024, 4096))
    assert long.pairs < 8.1 * short.pairs
    assert long.flops < 8.5 * short.flops
