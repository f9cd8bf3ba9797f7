"""Blocks of keys that one block of the network chose from its full attention, for later ones to read.

blocks [B,Hkv,T,topk] int64: the key blocks of the greatest single weight of each query, over its heads of a kv
group, best first; -1 where there are fewer
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "blocks"


@torch.no_grad()
def choose(weights: Tensor, kv_heads: int, block_size: int, topk: int, own: Tensor) -> Tensor:
    """The choice of queries whose own blocks are `own` `[T]`, from their weights `[B, Hq, T, S]`."""
    tokens = weights.shape[-1]
    parts = torch.unflatten(F.pad(weights, (0, -tokens % block_size)), -1, (-1, block_size)).amax(-1)
    best = torch.unflatten(parts, 1, (kv_heads, -1)).amax(2)
    later = torch.arange(best.shape[-1], device=best.device) > own.unsqueeze(-1)
    known = F.pad(best.masked_fill(later, -1.0), (0, max(0, topk - best.shape[-1])), value=-1.0)
    values, indices = torch.topk(known, topk)
    return indices.masked_fill(values < 0, -1)


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
