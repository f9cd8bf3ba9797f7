"""Attention in which each query has only some of the heads, and only those are computed.

Queries are sorted by head and cut into blocks of one head each, so that the number of blocks depends on sizes alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.attention import dense

BLOCK = 64


def attend(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of the chosen heads alone, `[B, T, r, D]`; every query sees all keys.

    Under a causal mask the fused kernel of all heads, which skips what is hidden, was faster at every length.

    Args:
        q: Queries of all heads `[B, H, T, D]`.
        k: Keys `[B, H, S, D]`.
        v: Values `[B, H, S, D]`.
        chosen: Heads of each query `[B, T, r]`, no one twice.
    """
    batch, heads, tokens, width = q.shape
    slots, owner = _slots(chosen, heads)
    count, flat = owner.shape[1], chosen.flatten(1)
    places = torch.arange(tokens, device=q.device).repeat_interleave(chosen.shape[2]).expand_as(flat)
    at = slots.unsqueeze(-1)
    rows = q.new_zeros(batch, count * BLOCK, width).scatter(1, at.expand(-1, -1, width), _pick(q, flat, places))
    y = dense(rows.view(batch * count, 1, BLOCK, width), *(_of_heads(x, owner) for x in (k, v)))
    y = y.reshape(batch, count * BLOCK, v.shape[3])
    return y.gather(1, at.expand(-1, -1, v.shape[3])).view(*chosen.shape, v.shape[3])


def blocks(tokens: int, chosen: int, heads: int) -> int:
    """How many blocks of queries there are, however the heads are chosen."""
    return tokens * chosen // BLOCK + heads


def _slots(chosen: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Row of each (token, head) pair `[B, T r]`, every head's from the start of a block, and each block's head."""
    flat = chosen.flatten(1)
    order = flat.argsort(dim=1, stable=True)
    sizes = F.one_hot(flat, heads).sum(1)
    filled = (sizes + BLOCK - 1) // BLOCK
    shift = (filled.cumsum(1) - filled) * BLOCK - (sizes.cumsum(1) - sizes)
    ranks = torch.zeros_like(order).scatter(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))
    numbers = torch.arange(blocks(chosen.shape[1], chosen.shape[2], heads), device=flat.device)
    owner = (numbers[:, None] >= filled.cumsum(1).unsqueeze(1)).sum(2).clamp_max(heads - 1)
    return ranks + shift.gather(1, flat), owner


def _pick(x: Tensor, heads: Tensor, places: Tensor) -> Tensor:
    """`[B, H, T, D]` at pairs of head and place, `[B, P, D]`."""
    index = (heads * x.shape[2] + places).unsqueeze(-1).expand(-1, -1, x.shape[3])
    return x.flatten(1, 2).gather(1, index)


def _of_heads(x: Tensor, owner: Tensor) -> Tensor:
    """`[B, H, S, D]` of each block's head, `[B blocks, 1, S, D]`."""
    first = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (first + owner).flatten()).unsqueeze(1)
