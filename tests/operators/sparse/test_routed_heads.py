import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Context, Site
from nas.shapes import Domain

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int, domain: Domain = "causal") -> Site:
    return Site(embed_dim=20, tokens=tokens, domain=domain)


def inputs(tokens: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, tokens, 20, dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(2, 4, 1), (1, 15, 2), (1, 17, 0)])
def test_all_full_or_a_window_over_everything_is_full_attention(
    build: Callable[..., Any], sizes: tuple[int, int, int]
) -> None:
    num_full, window_size, num_sink = sizes
    layer = build("routed_heads", site(17), **HEADS, num_full=num_full, window_size=window_size, num_sink=num_sink)
    full = build("softmax", site(17), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(17)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("domain", ["sequence", "causal"])
@pytest.mark.parametrize("tokens", [40, 150])
def test_evaluation_computes_the_chosen_kind_alone_and_agrees(
    build: Callable[..., Any], domain: Domain, tokens: int
) -> None:
    layer = build("routed_heads", site(tokens, domain), **HEADS, num_full=1, window_size=6, num_sink=2)
    x = inputs(tokens, batch=5)
    trained = layer(x)
    layer.mixer.eval()
    torch.testing.assert_close(layer(x), trained, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer.reference(x), trained, atol=1e-12, rtol=0)


def test_samples_choose_for_themselves_and_query_heads_of_a_group_alike(build: Callable[..., Any]) -> None:
    layer = build("routed_heads", site(40), **HEADS, num_full=1, window_size=6, num_sink=2)
    k = layer.projections.key(inputs(40, batch=12), 2, 6)
    z = layer.mixer._choice(k, layer.knobs, Context(site(40)))[..., 0, 0]
    assert torch.equal(z[:, 0], z[:, 1]) and torch.equal(z[:, 2], z[:, 3])
    assert (z.sum(1) == 2).all()
    assert 0 < z[:, 0].sum() < 12


def test_later_tokens_choose_nothing_in_evaluation(build: Callable[..., Any]) -> None:
    layer = build("routed_heads", site(60), **HEADS, num_full=1, window_size=6, num_sink=2)
    layer.mixer.eval()
    x = inputs(60, batch=8)
    for last in (5, 7, 8, 30):
        other = x.clone()
        other[:, last + 1 :] = 5 * torch.randn_like(other[:, last + 1 :])
        torch.testing.assert_close(layer(other)[:, : last + 1], layer(x)[:, : last + 1], atol=1e-12, rtol=0)


def test_the_budget_pulls_the_chances_and_raises_its_own_price(build: Callable[..., Any]) -> None:
    layer = build("routed_heads", site(40), **HEADS, num_full=1, window_size=6, num_sink=2)
    with torch.no_grad():
        layer.mixer.multipliers += torch.tensor([0.5, 2.0])
    x, context = inputs(40), Context(site(40))
    layer.mixer(x, layer.projections, layer.knobs, context)
    (penalty,) = context.penalties
    excess = 0.5 - layer.mixer._chances(layer.projections.key(x, 2, 6), layer.knobs, is_causal=True).mean()
    torch.testing.assert_close(penalty, 0.5 * excess.abs() + 2.0 * excess**2)
    (price,) = torch.autograd.grad(penalty, [layer.mixer.multipliers], retain_graph=True)
    torch.testing.assert_close(price, -torch.stack((excess.abs(), excess**2)))
    assert torch.autograd.grad(penalty, [layer.mixer.choice.weight])[0].abs().max() > 0


def test_decoding_keeps_all_keys_of_full_heads_and_a_window_of_the_others(build: Callable[..., Any]) -> None:
    layer = build("routed_heads", site(40), **HEADS, num_full=1, window_size=6, num_sink=2)
    layer.mixer.eval()
    _, state = layer.decode(inputs(40))
    assert [tuple(part.shape[1:3]) for part in state[:4]] == [(1, 40), (1, 40), (1, 8), (1, 8)]


def test_more_full_heads_than_kv_heads_are_refused() -> None:
    with pytest.raises(ArchError, match=re.escape("num_full must be at most num_kv_heads = 2, got 3")):
        operators.parse(OperatorArch.of("routed_heads", **HEADS, num_full=3, window_size=4, num_sink=0))
