from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import operators
from nas.operators.contract import Site
from nas.shapes import Domain

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int, domain: Domain = "causal") -> Site:
    return Site(embed_dim=20, tokens=tokens, domain=domain)


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


def twin(build: Callable[..., Any], layer: Any, name: str, **knobs: int) -> Any:
    other = build(name, layer.context.site, **HEADS, **knobs)
    other.projections.load_state_dict(layer.projections.state_dict())
    return other


@pytest.mark.parametrize("domain", ["sequence", "causal"])
def test_equal_importance_and_all_kept_is_full_attention(build: Callable[..., Any], domain: Domain) -> None:
    layer = build("dynamic_mask", site(17, domain), **HEADS, keep=17)
    full, x = twin(build, layer, "softmax"), inputs(17)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("tokens", [40, 200])
def test_equal_importance_keeps_the_last_tokens(build: Callable[..., Any], tokens: int) -> None:
    layer = build("dynamic_mask", site(tokens), **HEADS, keep=5)
    window, x = twin(build, layer, "window", window_size=5), inputs(tokens)
    torch.testing.assert_close(layer(x), window(x), atol=1e-12, rtol=0)


def test_only_the_slope_learns_at_first(build: Callable[..., Any]) -> None:
    layer = build("dynamic_mask", site(30), **HEADS, keep=6)
    (layer(inputs(30)) ** 2).sum().backward()
    assert layer.mixer.slope.grad.abs().min() > 0
    assert not layer.mixer.step_size.weight.grad.any()


@pytest.mark.parametrize("tokens", [30, 220])
def test_every_query_has_keys_by_importance_among_its_own_past(build: Callable[..., Any], tokens: int) -> None:
    layer = build("dynamic_mask", site(tokens), **HEADS, keep=7)
    nn.init.normal_(layer.mixer.slope)
    x, query = inputs(tokens), tokens - 3
    parts: list[Tensor] = []
    for part in (layer.projections.k, layer.projections.v):
        part.register_forward_hook(lambda *call: parts.append(call[-1]))
    y = layer(x)
    keys, values = parts
    (gradient,) = torch.autograd.grad(y[0, query].sum(), [keys])
    bias = layer.mixer.importance(x, values.transpose(1, 2))[0, :, : query + 1]
    for head in range(2):
        touched = gradient[0, :, head].abs().sum(-1).nonzero().flatten()
        assert set(touched.tolist()) == set(bias[head].topk(7).indices.tolist())


def test_decoding_keeps_no_more_than_the_chosen_keys(build: Callable[..., Any]) -> None:
    layer = build("dynamic_mask", site(30), **HEADS, keep=6)
    nn.init.normal_(layer.mixer.slope)
    x = inputs(30)
    y, state = layer.decode(x)
    torch.testing.assert_close(y, layer(x), atol=1e-12, rtol=0)
    assert [part.shape[2] for part in state] == [6, 6, 6]


def test_pairs_and_flops_fall_with_the_kept_keys() -> None:
    mixer, heads = operators.get("dynamic_mask"), {"num_heads": 4, "num_kv_heads": 4, "head_dim": 64}
    costs = [mixer.cost(mixer.knobs_type(**heads, keep=keep), site(2048)) for keep in (32, 128, 512)]
    assert costs[0].flops < costs[1].flops < costs[2].flops
    assert costs[0].pairs == 32 * 33 / 2 + (2048 - 32) * 32
