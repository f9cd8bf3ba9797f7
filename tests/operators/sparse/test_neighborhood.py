from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(height: int, width: int) -> Site:
    return Site(embed_dim=20, tokens=height * width, domain="image", grid=(height, width))


def visible(kernel_size: int, height: int, width: int) -> torch.Tensor:
    knobs = operators.parse(OperatorArch.of("neighborhood", **HEADS, kernel_size=kernel_size))
    return operators.get("neighborhood").mask(knobs, site(height, width), height * width)


@pytest.mark.parametrize("kernel_size", [7, 9])
def test_window_over_the_whole_grid_is_full_attention(build: Callable[..., Any], kernel_size: int) -> None:
    layer = build("neighborhood", site(7, 5), **HEADS, kernel_size=kernel_size)
    full = build("softmax", site(7, 5), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = torch.randn(2, 35, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("grid", [(7, 7), (6, 5), (3, 9)])
def test_every_query_sees_equally_many_keys_borders_included(kernel_size: int, grid: tuple[int, int]) -> None:
    height, width = grid
    expected = min(kernel_size, height) * min(kernel_size, width)
    assert (visible(kernel_size, height, width).sum(1) == expected).all()
    knobs = operators.parse(OperatorArch.of("neighborhood", **HEADS, kernel_size=kernel_size))
    assert operators.get("neighborhood").cost(knobs, site(height, width)).pairs == expected * height * width


def test_windows_shift_inwards_at_corners() -> None:
    seen = visible(3, 6, 5).unflatten(1, (6, 5))
    assert seen[0].nonzero().tolist() == [[row, column] for row in (0, 1, 2) for column in (0, 1, 2)]
    assert seen[29].nonzero().tolist() == [[row, column] for row in (3, 4, 5) for column in (2, 3, 4)]
    assert seen[12].nonzero().tolist() == [[row, column] for row in (1, 2, 3) for column in (1, 2, 3)]


@pytest.mark.parametrize("kernel_size", [3, 10])
def test_gathered_tiles_equal_the_reference(build: Callable[..., Any], kernel_size: int) -> None:
    layer = build("neighborhood", site(45, 43), num_heads=1, num_kv_heads=1, head_dim=4, kernel_size=kernel_size)
    knobs = layer.knobs
    cost, full = layer.mixer.cost(knobs, site(45, 43)), operators.get("softmax").cost(knobs, site(45, 43))
    assert cost.flops < full.flops
    x = torch.randn(1, 45 * 43, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-10, rtol=0)


def test_sequence_without_a_grid_is_refused() -> None:
    knobs = operators.parse(OperatorArch.of("neighborhood", **HEADS, kernel_size=3))
    with pytest.raises(ArchError, match="grid.*use window"):
        operators.get("neighborhood").check(knobs, Site(embed_dim=20, tokens=17, domain="sequence"))
