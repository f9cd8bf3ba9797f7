"""A learned bias per head and absolute offset, "LeViT: a Vision Transformer in ConvNet's Clothing" (2021).

Tokens at (y, x) and (y', x') have the bias of (|y - y'|, |x - x'|): position is known from it alone.
"""

import torch
from torch import Tensor, nn

from nas.errors import ArchError
from nas.operators.contract import Site


def new_bias(heads: int, site: Site) -> nn.Parameter:
    """A table `[heads, height, width]`, zero; a sequence has one row."""
    return nn.Parameter(torch.zeros(heads, *edges(site)))


def edges(site: Site) -> tuple[int, int]:
    """Rows and columns of the site's tokens."""
    if site.domain != "image":
        return 1, site.tokens
    if site.grid is None:
        raise ArchError(f"a bias of offsets on an image needs a grid of {site.tokens} tokens, got None")
    return site.grid


def spread(table: Tensor, heads: int, site: Site) -> Tensor:
    """The bias of every pair, `[heads, T, T]`, as windows of the table mirrored at its origin."""
    height, width = edges(site)
    part = table[:heads]
    wide = torch.cat((part.flip(2)[..., :-1], part), dim=2)
    whole = torch.cat((wide.flip(1)[:, :-1], wide), dim=1)
    # copying runs is several times faster than an index for every pair
    windows = whole.unfold(1, height, 1).unfold(2, width, 1)
    return windows.flip(1, 2).reshape(heads, height * width, height * width)


def spread_slowly(table: Tensor, heads: int, site: Site) -> Tensor:
    """The same pair by pair."""
    height, width = edges(site)
    places = [(i, j) for i in range(height) for j in range(width)]
    rows = [torch.stack([table[:heads, abs(i - k), abs(j - n)] for k, n in places], dim=1) for i, j in places]
    return torch.stack(rows, dim=1)
