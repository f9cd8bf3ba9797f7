"""Attention in which each query has only some of the heads, and only those are computed.

Queries are sorted by head and cut into blocks of one head each, so that the number of blocks depends on sizes alone.
"""

import torch
from torch import Tensor

from nas.kernels.attention import dense
from nas.kernels.dealing import chunks, deal, rows_of

BLOCK, FEWEST = 64, 400
"""Queries of a block, and tokens from which this may be faster than all heads (one CPU thread)."""


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
    slots, owner = deal(chosen.flatten(1), heads, BLOCK)
    places = torch.arange(tokens, device=q.device).unsqueeze(-1)
    picked = rows_of(q.flatten(1, 2), (chosen * tokens + places).flatten(1))
    rows = q.new_zeros(batch, owner.shape[1] * BLOCK, width)
    rows = rows.scatter(1, slots.unsqueeze(-1).expand(-1, -1, width), picked).view(-1, 1, BLOCK, width)
    y = dense(rows, *(rows_of(x, owner).flatten(0, 1).unsqueeze(1) for x in (k, v)))
    return rows_of(y.reshape(batch, -1, v.shape[3]), slots).view(*chosen.shape, v.shape[3])


def computed_rows(tokens: int, chosen: int, heads: int) -> int:
    """Queries of all heads together that `attend` computes, however the heads are chosen."""
    return chunks(tokens * chosen, heads, BLOCK) * BLOCK
