from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
GRIDS = [(6, 6), (7, 5)]


def site(grid: tuple[int, int]) -> Site:
    return Site(embed_dim=20, tokens=grid[0] * grid[1], domain="image", grid=grid)


def inputs(grid: tuple[int, int]) -> Tensor:
    return torch.randn(1, grid[0] * grid[1], 20, dtype=torch.float64)


def region_of_token(grid: tuple[int, int], regions: int) -> Tensor:
    rows, columns = (torch.arange(length) * regions // length for length in grid)
    return (rows[:, None] * regions + columns).flatten()


def chosen_regions(layer: Any, x: Tensor, region: Tensor, topk: int) -> set[int]:
    q = layer.projections.query(x, 4, 6, 2)
    k = layer.projections.key(x, 2, 6).repeat_interleave(2, dim=1)
    queries, keys = (
        torch.stack([y[0, :, region == index].mean(1).flatten() for index in range(int(region.max()) + 1)])
        for y in (q, k)
    )
    return set((queries @ keys.T).topk(topk).indices.flatten().tolist())


@pytest.mark.parametrize("grid", GRIDS)
def test_all_regions_without_local_term_are_full_attention(build: Callable[..., Any], grid: tuple[int, int]) -> None:
    layer, full = build("region_routing", site(grid), **HEADS, regions=3, topk=9), build("softmax", site(grid), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    nn.init.zeros_(layer.mixer.lepe)
    x = inputs(grid)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_local_term_is_a_depthwise_convolution_of_v(build: Callable[..., Any], grid: tuple[int, int]) -> None:
    layer = build("region_routing", site(grid), **HEADS, regions=2, topk=2)
    x = inputs(grid)
    whole = layer(x)
    image = layer.projections.value(x, 2, 6).transpose(2, 3).reshape(1, 12, *grid)
    local = F.conv2d(image, layer.mixer.lepe.view(12, 1, 5, 5), padding=2, groups=12)
    local = local.view(1, 2, 6, -1).transpose(2, 3).repeat_interleave(2, dim=1)
    nn.init.zeros_(layer.mixer.lepe)
    torch.testing.assert_close(whole - layer(x), layer.projections.output(local, 20, 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_only_chosen_regions_get_gradients_of_keys_and_values(build: Callable[..., Any], grid: tuple[int, int]) -> None:
    layer = build("region_routing", site(grid), **HEADS, regions=3, topk=1)
    nn.init.zeros_(layer.mixer.lepe)
    x, region = inputs(grid), region_of_token(grid, 3)
    outputs: list[Tensor] = []
    for part in (layer.projections.k, layer.projections.v):
        part.register_forward_hook(lambda *call: outputs.append(call[-1]))
    gradients = torch.autograd.grad((layer(x) ** 2).sum(), outputs)
    chosen = chosen_regions(layer, x, region, topk=1)
    assert len(chosen) < 9
    for gradient in gradients:
        touched = gradient[0].abs().sum((1, 2)) > 0
        assert set(region[touched].tolist()) == chosen


def test_long_grids_gather_and_cost_less_than_full_attention(build: Callable[..., Any]) -> None:
    layer = build("region_routing", site((17, 15)), **HEADS, regions=4, topk=3)
    x = inputs((17, 15))
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-10, rtol=0)
    full = operators.get("softmax").cost(layer.knobs, site((17, 15)))
    assert layer.mixer.cost(layer.knobs, site((17, 15))).flops < full.flops


def test_whole_regions_visit_the_stated_pairs() -> None:
    knobs = operators.parse(OperatorArch.of("region_routing", **HEADS, regions=3, topk=2))
    assert operators.get("region_routing").cost(knobs, site((6, 6))).pairs == 36 * 2 * 4


def test_more_regions_than_tokens_are_refused() -> None:
    knobs = operators.parse(OperatorArch.of("region_routing", **HEADS, regions=6, topk=2))
    with pytest.raises(ArchError, match="regions must not exceed"):
        operators.get("region_routing").check(knobs, site((7, 5)))


def test_more_chosen_regions_than_there_are_are_refused() -> None:
    with pytest.raises(ArchError, match=r"topk must be at most regions\^2 = 4, got 5"):
        operators.parse(OperatorArch.of("region_routing", **HEADS, regions=2, topk=5))


def test_sequence_without_a_grid_is_refused() -> None:
    knobs = operators.parse(OperatorArch.of("region_routing", **HEADS, regions=2, topk=1))
    with pytest.raises(ArchError, match="grid.*use block_routing"):
        operators.get("region_routing").check(knobs, Site(embed_dim=20, tokens=17, domain="sequence"))
