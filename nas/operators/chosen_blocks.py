"""Blocks of keys that one block of the network chose from its full attention, for later ones to read.

blocks [B,Hkv,T,topk] int64: the key blocks of the greatest single weight of each query, over its heads of a kv
group, best first; -1 where there are fewer
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.attention import repeat_heads

NAME, ROWS = "blocks", 128
"""Queries whose scores are held at once."""


@torch.no_grad()
def choose(q: Tensor, k: Tensor, block_size: int, topk: int, *, is_causal: bool) -> Tensor:
    """The choice of the last queries `[B, Hq, Q, D]` among all T keys `[B, Hkv, T, D]`, some queries at a time."""
    first, kv_heads = k.shape[2] - q.shape[2], k.shape[1]
    keys, q = repeat_heads(k, q.shape[1]).transpose(-1, -2), q * q.shape[3] ** -0.5
    found = []
    for start in range(0, q.shape[2], ROWS):
        some = q[:, :, start : start + ROWS]
        stop = first + start + some.shape[2] if is_causal else k.shape[2]
        scores = some @ keys[..., :stop]
        if is_causal:
            hidden = torch.ones(some.shape[2], stop, dtype=torch.bool, device=q.device).triu(first + start + 1)
            scores = scores.masked_fill(hidden, -torch.inf)
        found.append(_best(scores, kv_heads, block_size, topk))
    return torch.cat(found, dim=2)


def scored(queries: int, keys: int, *, is_causal: bool) -> int:
    """Pairs that `choose` computes scores for."""
    sizes = [min(ROWS, queries - start) for start in range(0, queries, ROWS)]
    ends = [keys - queries + start for start in range(0, queries, ROWS)]
    return sum(size * (end + size if is_causal else keys) for size, end in zip(sizes, ends, strict=True))


def _best(scores: Tensor, kv_heads: int, block_size: int, topk: int) -> Tensor:
    """Blocks of the greatest weights, from scores `[B, Hq, Q, S]`."""
    peaks = F.pad(scores, (0, -scores.shape[-1] % block_size), value=-torch.inf)
    peaks = peaks.reshape(*scores.shape[:3], -1, block_size).amax(-1)
    if scores.shape[1] > kv_heads:  # only then heads compare, by their weights
        peaks = peaks - scores.logsumexp(-1, keepdim=True)
        peaks = peaks.reshape(scores.shape[0], kv_heads, -1, *peaks.shape[2:]).amax(2)
    known = F.pad(peaks, (0, max(0, topk - peaks.shape[-1])), value=-torch.inf)
    values, indices = torch.topk(known, topk)
    return indices.masked_fill(values == -torch.inf, -1)


def with_own(blocks: Tensor, block_size: int) -> Tensor:
    """The chosen blocks of all tokens and each token's own one, `[B, Hkv, T, topk + 1]`."""
    own = (torch.arange(blocks.shape[2], device=blocks.device) // block_size).unsqueeze(-1)
    return torch.cat((blocks.masked_fill(blocks == own, -1), own.expand(*blocks.shape[:2], -1, -1)), dim=-1)


def newest(blocks: Tensor, tokens: int, block_size: int, *, diagonal: bool = False) -> tuple[Tensor, Tensor]:
    """Keys that the newest of so many tokens reads: places `[B, Hkv, n]` and whether each counts."""
    chosen = blocks[:, :, -1]
    own = (tokens - 1) // block_size
    if diagonal:
        chosen = torch.cat((chosen.masked_fill(chosen == own, -1), torch.full_like(chosen[..., :1], own)), dim=-1)
    places = chosen.unsqueeze(-1) * block_size + torch.arange(block_size, device=blocks.device)
    counts = (chosen.unsqueeze(-1) >= 0) & (places < tokens)
    return places.clamp(0, tokens - 1).flatten(2), counts.flatten(2)


def pairs(tokens: int, keys: int, *, is_causal: bool) -> float:
    """Pairs of `keys` keys per query, fewer where a causal query has less past."""
    keys = min(keys, tokens)
    return keys * (keys + 1) / 2 + (tokens - keys) * keys if is_causal else float(tokens * keys)
