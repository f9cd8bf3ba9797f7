"""Softmax attention in which each query has key blocks of its own, and no other is computed.

Pairs of query and block are sorted by block and cut into chunks of one block each, so that the number of chunks depends
on sizes alone; what a query finds in its blocks is joined by their maxima and sums, as in "Online normalizer
calculation for softmax" (2018).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from nas.kernels.attention import dense, repeat_heads
from nas.kernels.dealing import chunks, deal, rows_of

CHUNK = 32
LARGEST_SHARE = 0.25
"""Computed pairs over all pairs up to which this is faster than a dense mask (one CPU thread)."""


def attend(q: Tensor, k: Tensor, v: Tensor, blocks: Tensor, block_size: int, *, is_causal: bool) -> Tensor:
    """`[B, H, T, Dv]` by chunks or under a dense mask, whichever is faster; queries without a visible key get zeros.

    Args:
        q: Queries `[B, H, T, D]`.
        k: Keys `[B, Hkv, T, D]`, Hkv divides H.
        v: Values `[B, Hkv, T, Dv]`.
        blocks: Key blocks of each query `[B, H or Hkv, T, r]`, no one twice, -1 for none.
        block_size: Tokens per block; the last one may be short.
        is_causal: Hide keys after the query's own place.
    """
    blocks = repeat_heads(blocks, q.shape[1])
    if computed_pairs(q.shape[2], blocks.shape[3], block_size) < q.shape[2] ** 2:
        k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        return by_chunks(q, k, v, blocks, block_size, is_causal=is_causal)
    return dense(q, k, v, mask=visible(blocks, q.shape[2], block_size, is_causal=is_causal))


def computed_pairs(tokens: int, chosen: int, block_size: int) -> int:
    """Pairs per head that `attend` computes scores for, however the blocks are chosen."""
    few = rows(tokens, chosen, block_size) * block_size
    return few if few <= LARGEST_SHARE * tokens**2 else tokens**2


def rows(tokens: int, chosen: int, block_size: int) -> int:
    """Rows of all chunks."""
    return chunks(tokens * chosen, -(-tokens // block_size) + 1, CHUNK) * CHUNK


def visible(blocks: Tensor, tokens: int, block_size: int, *, is_causal: bool) -> Tensor:
    """Pairs inside the chosen blocks `[B, H, T, r]`, bool `[B, H, T, tokens]`."""
    count = -(-tokens // block_size)
    table = torch.zeros(*blocks.shape[:3], count + 1, dtype=torch.bool, device=blocks.device)
    table = table.scatter(-1, blocks.masked_fill(blocks < 0, count), True)[..., :count]
    # copying runs is several times faster than an index or tril over all pairs
    mask = table.unsqueeze(-1).expand(*table.shape, block_size).flatten(-2)[..., :tokens]
    place = torch.arange(tokens, device=blocks.device, dtype=torch.int32)
    return mask & (place <= place.unsqueeze(-1)) if is_causal else mask


def by_chunks(q: Tensor, k: Tensor, v: Tensor, blocks: Tensor, block_size: int, *, is_causal: bool) -> Tensor:
    """The same by chunks, all with the heads of q."""
    shape, count = blocks.shape, -(-k.shape[2] // block_size)
    q, flat = q.flatten(0, 1), blocks.flatten(0, 1).flatten(1)
    slots, owner = deal(flat.masked_fill(flat < 0, count), count + 1, CHUNK)
    places = torch.arange(shape[2], device=q.device).repeat_interleave(shape[3]).expand_as(flat)
    at = slots.new_zeros(len(q), owner.shape[1] * CHUNK).scatter(1, slots, places)
    picked = rows_of(q * q.shape[2] ** -0.5, at).view(-1, CHUNK, q.shape[2])
    keys, values = (_of_blocks(x.flatten(0, 1), owner, count, block_size) for x in (k, v))
    hidden = _hidden(owner, at.view(*owner.shape, CHUNK), k.shape[2], block_size, is_causal=is_causal)
    scores = (picked @ keys.transpose(1, 2)).masked_fill(hidden, float("-inf"))
    # a finite floor keeps rows without a key, and their gradients, finite
    peak = scores.detach().amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)
    weights = (scores - peak).exp()
    found = torch.cat((weights @ values, weights.sum(-1, keepdim=True), peak), dim=-1)
    return _joined(rows_of(found.view(len(q), -1, found.shape[-1]), slots).view(*shape, -1))


def _joined(found: Tensor) -> Tensor:
    """From what each query has of each block `[..., r, Dv + 2]`: weighted values, their sum of weights, their peak."""
    y, total, peak = found[..., :-2], found[..., -2:-1], found[..., -1:].detach()
    share = (peak - peak.amax(-2, keepdim=True)).exp()
    whole = (total * share).sum(-2)
    return (y * share).sum(-2) / whole.masked_fill(whole == 0, 1.0)


def _of_blocks(x: Tensor, owner: Tensor, count: int, block_size: int) -> Tensor:
    """`[N, S, D]` of each chunk's block, zeros beyond the end, `[N chunks, block_size, D]`."""
    padded = pad(x, (0, 0, 0, (count + 1) * block_size - x.shape[1]))
    return rows_of(padded.view(len(x), count + 1, block_size, x.shape[2]), owner).flatten(0, 1)


def _hidden(owner: Tensor, at: Tensor, tokens: int, block_size: int, *, is_causal: bool) -> Tensor:
    """Pairs that do not count, of chunks with rows `at` `[N, chunks, CHUNK]`: `[N chunks, CHUNK or 1, block_size]`."""
    # half as wide numbers compare twice as fast
    places = (owner.unsqueeze(-1) * block_size + torch.arange(block_size, device=owner.device)).int()
    if not is_causal:
        return (places >= tokens).unsqueeze(2).flatten(0, 1)
    # a place beyond the end comes after every query, but for the chunks of no block
    return (places.unsqueeze(2) > at.int().unsqueeze(-1)).flatten(0, 1)
