from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Context, Site
from tests.operators.harness import counted

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 4}
SITE = Site(embed_dim=20, tokens=17, domain="causal")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 17, 20, dtype=torch.float64)


def test_zero_routers_with_all_heads_on_are_plain_attention(build: Callable[..., Any], x: torch.Tensor) -> None:
    layer, full = build("mixture_of_heads", SITE, **HEADS, num_shared=2, num_routed=4), build("softmax", SITE, **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    for parameter in layer.mixer.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("num_shared", "num_routed"), [(1, 1), (2, 3), (2, 4), (5, 1)])
def test_every_token_has_exactly_its_heads_on(
    build: Callable[..., Any], x: torch.Tensor, num_shared: int, num_routed: int
) -> None:
    layer = build("mixture_of_heads", SITE, **HEADS, num_shared=num_shared, num_routed=num_routed)
    gates = layer.mixer.gates(x, layer.knobs, layer.context)
    assert ((gates > 0).sum(-1) == num_shared + num_routed).all()
    assert (gates[..., :num_shared] > 0).all()


def test_gates_add_up_to_the_balanced_head_counts(build: Callable[..., Any], x: torch.Tensor) -> None:
    layer = build("mixture_of_heads", SITE, **HEADS, num_shared=2, num_routed=3)
    gates = layer.mixer.gates(x, layer.knobs, layer.context)
    levels = 2 * layer.mixer.balance(x, 2).softmax(-1)
    torch.testing.assert_close(gates[..., :2].sum(-1), 2 * levels[..., 0])
    torch.testing.assert_close(gates[..., 2:].sum(-1), 3 * levels[..., 1])
    nn.init.zeros_(layer.mixer.balance.weight)
    total = layer.mixer.gates(x, layer.knobs, layer.context).sum(-1)
    torch.testing.assert_close(total, torch.full_like(total, 5.0))


def test_balance_loss_is_least_for_even_use_and_only_there_in_training(
    build: Callable[..., Any], x: torch.Tensor
) -> None:
    layer = build("mixture_of_heads", SITE, **HEADS, num_shared=2, num_routed=1)
    weight = layer.mixer.router.weight
    nn.init.zeros_(weight)
    layer(x)
    layer.mixer.eval()
    layer(x)
    (even,) = layer.context.penalties
    torch.testing.assert_close(even, torch.tensor(0.01, dtype=torch.float64))
    one_sided = Context(SITE)
    with torch.no_grad():
        weight[4] = 100.0
    layer.mixer.train()
    layer.mixer(x.abs(), layer.projections, layer.knobs, one_sided)
    torch.testing.assert_close(one_sided.penalties[0], torch.tensor(0.04, dtype=torch.float64))


def test_balance_loss_reaches_the_router(build: Callable[..., Any], x: torch.Tensor) -> None:
    layer = build("mixture_of_heads", SITE, **HEADS, num_shared=2, num_routed=2)
    layer(x)
    (gradient,) = torch.autograd.grad(layer.context.penalties[0], layer.mixer.router.weight)
    assert (gradient[2:] != 0).any()
    assert not gradient[:2].any()


def test_masking_saves_no_flops() -> None:
    operator = operators.get("mixture_of_heads")
    few, all_on = (
        operators.parse(OperatorArch.of("mixture_of_heads", **HEADS, num_shared=1, num_routed=count))
        for count in (1, 5)
    )
    assert operator.cost(few, SITE).flops == operator.cost(all_on, SITE).flops
    assert operator.sparsity(few, SITE) == pytest.approx(4 / 6)
    assert operator.sparsity(all_on, SITE) == 0.0


def test_more_heads_on_than_there_are_are_refused() -> None:
    with pytest.raises(ArchError, match="num_shared and num_routed .* num_heads = 6, got 3 and 4"):
        operators.parse(OperatorArch.of("mixture_of_heads", **HEADS, num_shared=3, num_routed=4))


@pytest.mark.parametrize(("num_shared", "num_routed"), [(1, 1), (2, 2)])
def test_chosen_heads_alone_give_what_all_heads_give(
    build: Callable[..., Any], num_shared: int, num_routed: int
) -> None:
    site = Site(embed_dim=20, tokens=450, domain="sequence")
    knobs = {"num_heads": 8, "num_kv_heads": 2, "head_dim": 4, "num_shared": num_shared, "num_routed": num_routed}
    layer = build("mixture_of_heads", site, **knobs)
    x = torch.randn(2, 450, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-12, rtol=0)
    for found, expected in zip(layer.gradients(x), layer.gradients(x, by_reference=True), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_flops_fall_with_the_heads_that_are_chosen(build: Callable[..., Any]) -> None:
    site = Site(embed_dim=20, tokens=600, domain="sequence")
    flops = []
    for num_routed in (1, 2, 7):
        knobs = {"num_heads": 8, "num_kv_heads": 8, "head_dim": 4, "num_shared": 1, "num_routed": num_routed}
        layer = build("mixture_of_heads", site, **knobs)
        x = torch.randn(1, 600, 20, dtype=torch.float64)
        flops.append(layer.mixer.cost(layer.knobs, site).flops)
        assert counted(partial(layer, x)) == flops[-1]
    assert flops[0] < flops[1] < 0.7 * flops[2]
