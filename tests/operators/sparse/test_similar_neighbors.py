import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(grid: tuple[int, int]) -> Site:
    return Site(embed_dim=20, tokens=grid[0] * grid[1], domain="image", grid=grid)


def inputs(grid: tuple[int, int]) -> Tensor:
    return torch.randn(2, grid[0] * grid[1], 20, dtype=torch.float64)


@pytest.mark.parametrize("grid", [(6, 7), (2, 9)])
def test_all_neighbours_are_neighbourhood_attention(build: Callable[..., Any], grid: tuple[int, int]) -> None:
    layer = build("similar_neighbors", site(grid), **HEADS, kernel_size=3, topk=8)
    plain = build("neighborhood", site(grid), **HEADS, kernel_size=3)
    plain.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(grid)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-12, rtol=0)


def test_the_most_similar_neighbours_and_the_token_itself_are_read(build: Callable[..., Any]) -> None:
    layer = build("similar_neighbors", site((6, 7)), **HEADS, kernel_size=3, topk=3)
    x, keys = inputs((6, 7)), []
    layer.projections.k.register_forward_hook(lambda *call: keys.append(call[-1]))
    y = layer(x)
    token, around = 2 * 7 + 3, [(row * 7 + column) for row in (1, 2, 3) for column in (2, 3, 4)]
    around.remove(token)
    (gradient,) = torch.autograd.grad(y[0, token].pow(2).sum(), keys)
    best = F.cosine_similarity(x[0, around], x[0, token], dim=-1).topk(3).indices
    expected = {token, *(around[i] for i in best.tolist())}
    assert set(gradient[0].abs().sum((1, 2)).nonzero().flatten().tolist()) == expected


def test_identical_patches_stay_identical(build: Callable[..., Any]) -> None:
    layer = build("similar_neighbors", site((6, 7)), **HEADS, kernel_size=3, topk=4)
    y = layer(inputs((6, 7))[:, :1].expand(-1, 42, -1))
    torch.testing.assert_close(y, y[:, :1].expand_as(y), atol=1e-12, rtol=0)


def test_pairs_are_the_chosen_ones() -> None:
    mixer = operators.get("similar_neighbors")
    cost = mixer.cost(mixer.knobs_type(**HEADS, kernel_size=5, topk=4), site((6, 7)))
    assert cost.pairs == 42 * 5


def test_more_neighbours_than_the_window_has_and_sequences_are_refused() -> None:
    with pytest.raises(ArchError, match=re.escape("topk must be at most kernel_size^2 - 1 = 8, got 9")):
        operators.parse(OperatorArch.of("similar_neighbors", **HEADS, kernel_size=3, topk=9))
    knobs = operators.parse(OperatorArch.of("similar_neighbors", **HEADS, kernel_size=3, topk=4))
    with pytest.raises(ArchError, match="grid.*use top_keys"):
        operators.get("similar_neighbors").check(knobs, Site(embed_dim=20, tokens=17, domain="sequence"))
