"""Heads of two kinds in one layer: a window with the first tokens, and taking kv heads apart by kind and back.

order [B,Hkv] kv heads, the `count` of the first kind in front;  x [B,H,T,D] has H / Hkv heads per kv head
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from nas.kernels import attention, visibility
from nas.kernels.visibility import Visibility
from nas.operators.pattern import build

BALANCE_WEIGHT = 0.01


class Decided(NamedTuple):
    """k and v of heads that see everything and of those with a window, and the order of the kv heads by kind."""

    full_k: Tensor
    full_v: Tensor
    near_k: Tensor
    near_v: Tensor
    order: Tensor


def first_of(scores: Tensor, count: int) -> Tensor:
    """The order `[B, Hkv]` in which the `count` greatest scores come first, each kind in its own order."""
    is_chosen = torch.zeros_like(scores, dtype=torch.int32).scatter(-1, scores.topk(count).indices, 1)
    return is_chosen.argsort(dim=-1, descending=True, stable=True)


def split(x: Tensor, order: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Heads of the first kind and of the second."""
    arranged = _arranged(x, order)
    return arranged[:, :count].flatten(1, 2), arranged[:, count:].flatten(1, 2)


def split_kv(k: Tensor, v: Tensor, order: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """k and v of the first kind, then of the second."""
    (first_k, second_k), (first_v, second_v) = split(k, order, count), split(v, order, count)
    return first_k, first_v, second_k, second_v


def joined(first: Tensor, second: Tensor, order: Tensor) -> Tensor:
    """The inverse of `split`."""
    return _arranged(torch.cat((first, second), dim=1), order.argsort(dim=-1)).flatten(1, 2)


def decided(k: Tensor, v: Tensor, order: Tensor, count: int, ends: tuple[int, int]) -> Decided:
    """All k and v by kind; a window keeps the first and the last of so many tokens as `ends` says."""
    full_k, full_v, near_k, near_v = split_kv(k, v, order, count)
    return Decided(full_k, full_v, _kept(near_k, ends), _kept(near_v, ends), order.int())


def decoded(q: Tensor, k: Tensor, v: Tensor, state: Decided, ends: tuple[int, int]) -> tuple[Tensor, Decided]:
    """One token `[B, Hq, 1, D]` and the state with its k and v."""
    order, count = state.order.long(), state.full_k.shape[1]
    new = split_kv(k, v, order, count)
    full_k, full_v, near_k, near_v = (torch.cat(pair, dim=2) for pair in zip(state[:4], new, strict=True))
    near_k, near_v = _kept(near_k, ends), _kept(near_v, ends)
    full_q, near_q = split(q, order, count)
    y = joined(attention.decode(full_q, full_k, full_v), attention.decode(near_q, near_k, near_v), order)
    return y, Decided(full_k, full_v, near_k, near_v, state.order)


def is_visible(query: Tensor, key: Tensor, window_size: int, num_sink: int, *, is_causal: bool) -> Tensor:
    """Whether the key is among the nearest `window_size` or the first `num_sink`, and not later where causal."""
    back = window_size - 1 if is_causal else window_size // 2
    ahead = window_size - 1 - back
    seen = ((query - key <= back) & (key - query <= ahead)) | (key < num_sink)
    return seen & (key <= query) if is_causal else seen


@lru_cache(maxsize=64)
def window_and_first(tokens: int, window_size: int, num_sink: int, *, is_causal: bool) -> Visibility:
    """The rule of `is_visible` as block lists."""

    def predicate(query: Tensor, key: Tensor) -> Tensor:
        return is_visible(query, key, window_size, num_sink, is_causal=is_causal)

    # as for a plain window
    return build(tokens, min(64, max(16, 1 << (window_size - 1).bit_length())), predicate)


@lru_cache(maxsize=256)
def visible_pairs(pattern: Visibility) -> float:
    """Pairs of one head under a cached pattern."""
    return visibility.pairs(pattern)


def _arranged(x: Tensor, order: Tensor) -> Tensor:
    """`[B, Hkv, H / Hkv, T, D]` with the kv heads in this order."""
    grouped = torch.unflatten(x, 1, (order.shape[1], -1))
    return grouped[torch.arange(x.shape[0], device=x.device).unsqueeze(-1), order]


def _kept(x: Tensor, ends: tuple[int, int]) -> Tensor:
    return torch.cat((x[:, :, : ends[0]], x[:, :, -ends[1] :]), dim=2)


def imbalance(odds: Tensor, is_on: Tensor) -> Tensor:
    """Load-balance loss of heads `[B, T, E]` that are drawn per token, least when all serve equally many, as in "MoH:
    Multi-Head Attention as Mixture-of-Head Attention" (2024).
    """
    fraction, probability = is_on.to(odds.dtype).mean((0, 1)), odds.mean((0, 1))
    return BALANCE_WEIGHT * odds.shape[-1] ** 2 * (fraction * probability).mean()
