"""Neighbourhood attention on the token grid: each query sees the k x k window around it, shifted inwards at borders.

"Neighborhood Attention Transformer" (2022); "Generalized Neighborhood Attention" (2025) with stride 1.

    tokens on a grid H x W, per axis of length L: w = min(k, L), start(i) = clip(i - k // 2, 0, L - w)
    key j visible to i iff start(i) <= j < start(i) + w on both axes: min(k, H) * min(k, W) keys for every query
    q [B,Hq,T,D], k, v [B,Hkv,T,D], T = H W;  y = softmax(q k^T / sqrt D over visible keys) v;  out = y W_o
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nas.errors import ArchError
from nas.kernels.visibility import Visibility, tile_order
from nas.operators.contract import HeadKnobs, Site
from nas.operators.pattern import Patterned, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads and the side of the window; even sides reach one further up and left."""

    kernel_size: int


class Mixer(Patterned[Knobs]):
    """Local attention in two dimensions; up to 32 x 32 tokens it runs as a dense mask."""

    knobs_type = Knobs
    suggested = {"kernel_size": (7, 5, 3)}
    domains = frozenset(("image",))

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Needs a grid."""
        _grid(site)

    @classmethod
    def pattern(cls, knobs: Knobs, site: Site, tokens: int) -> Visibility:
        """Square tiles of the grid."""
        return _pattern(*_grid(site), knobs.kernel_size)

    @classmethod
    def mask(cls, knobs: Knobs, site: Site, tokens: int) -> Tensor:
        """Both axes, each as a table."""
        height, width = _grid(site)
        rows, columns = _axis_table(height, knobs.kernel_size), _axis_table(width, knobs.kernel_size)
        return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(tokens, tokens)


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None:
        raise ArchError(f"neighborhood needs tokens on a grid, got a {site.domain} without one: use window instead")
    return site.grid


def _axis_table(length: int, kernel_size: int) -> Tensor:
    table = torch.zeros(length, length, dtype=torch.bool)
    size = min(kernel_size, length)
    for query in range(length):
        start = min(max(query - kernel_size // 2, 0), length - size)
        table[query, start : start + size] = True
    return table


@lru_cache(maxsize=64)
def _pattern(height: int, width: int, kernel_size: int) -> Visibility:
    def is_near(query: Tensor, key: Tensor, length: int) -> Tensor:
        size = min(kernel_size, length)
        start = (query - kernel_size // 2).clamp(0, length - size)
        return (key >= start) & (key < start + size)

    def is_visible(query: Tensor, key: Tensor) -> Tensor:
        return is_near(query // width, key // width, height) & is_near(query % width, key % width, width)

    # 8 x 8 tiles lose too much to their halo for small windows, 4 x 4 tiles are slow for large ones
    tile = 4 if kernel_size <= 8 else 8
    return build(height * width, tile * tile, is_visible, order=tile_order(height, width, tile))
