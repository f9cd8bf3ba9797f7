"""Dealing pairs out to their owners, so that each owner's fill chunks of their own, of a number that is known before.

Attention to chosen heads and chosen blocks computes chunk by chunk: a head or a block of keys is read once per chunk.
"""

import torch
from torch import Tensor


def chunks(pairs: int, owners: int, size: int) -> int:
    """Chunks that suffice for so many pairs, however they fall on the owners."""
    return pairs // size + owners


def deal(owner_of: Tensor, owners: int, size: int) -> tuple[Tensor, Tensor]:
    """Where pairs go: their rows `[N, P]`, an owner's from a chunk's start on, and each chunk's owner `[N, chunks]`.

    Args:
        owner_of: Owner of each pair `[N, P]`.
        owners: How many there are.
        size: Rows of a chunk.
    """
    sizes = owner_of.new_zeros(len(owner_of), owners).scatter_add(1, owner_of, torch.ones_like(owner_of))
    filled = (sizes + size - 1) // size
    shift = (filled.cumsum(1) - filled) * size - (sizes.cumsum(1) - sizes)
    order = owner_of.argsort(dim=1, stable=True)
    places = torch.arange(owner_of.shape[1], device=owner_of.device).expand_as(order)
    ranks = torch.zeros_like(order).scatter(1, order, places)
    numbers = torch.arange(chunks(owner_of.shape[1], owners, size), device=owner_of.device)
    owner = (numbers[:, None] >= filled.cumsum(1).unsqueeze(1)).sum(2).clamp_max(owners - 1)
    return ranks + shift.gather(1, owner_of), owner


def rows_of(x: Tensor, at: Tensor) -> Tensor:
    """`[N, R, ...]` at places `[N, P]`, `[N, P, ...]`."""
    first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (first + at).flatten()).view(*at.shape, *x.shape[2:])
