"""Softmax attention on the keys of greatest importance, a number per key that no query has a say in.

    b [B,Hkv,T] importance of each key;  kept(t) = the `keep` greatest b_s among the keys that t may see
    y_t = softmax(q_t k_s^T / sqrt D + b_s over s in kept(t)) v

The importance is part of the scores, which is how it learns; the choice itself has no gradient. Of equal importance the
later key is kept. A causal query chooses among its own past only, so a key that has left the choice never returns: a
block of queries needs the best of the tokens before it and its own tokens, and decoding needs the best `keep` alone.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

BLOCK_SIZE = 64
DecodeState = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionKnobs(HeadKnobs):
    """Heads and the number of keys that each query keeps; more than there are means all."""

    keep: int


S = TypeVar("S", bound=SelectionKnobs)


class KeySelection(Operator[S]):
    """Attention on chosen keys; a subclass says what makes a key important and what that costs."""

    @abstractmethod
    def importance(self, x: Tensor, v: Tensor) -> Tensor:
        """b `[B, Hkv, T]` of x `[B, T, C]` and v `[B, Hkv, T, D]`, each token by itself."""

    @classmethod
    @abstractmethod
    def importance_cost(cls, knobs: S, site: Site) -> Cost:
        """Parameters and flops of `importance`."""

    def forward(self, x: Tensor, projections: Projections, knobs: S, context: Context) -> Tensor:
        """Gathered keys, or a dense mask where a causal block would gather most of them."""
        q, k, v = qkv(x, projections, knobs)
        bias = self.importance(x, v)
        y = _attend(*_with_bias(q, k, bias), v, bias.detach(), knobs.keep, is_causal=context.site.is_causal)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: S, context: Context) -> Tensor:
        """Explicit softmax; the visible keys of every query are sorted anew."""
        q, k, v = qkv(x, projections, knobs)
        bias = self.importance(x, v)
        mask = torch.zeros(*bias.shape, x.shape[1], dtype=torch.bool, device=x.device)
        for query in range(x.shape[1]):
            visible = query + 1 if context.site.is_causal else x.shape[1]
            kept = bias[..., :visible].argsort(dim=-1, stable=True)[..., -knobs.keep :]
            mask[:, :, query].scatter_(-1, kept, True)
        k, v, bias = (attention.repeat_heads(part, knobs.num_heads) for part in (k, v, bias))
        scores = q @ k.transpose(-1, -2) / math.sqrt(knobs.head_dim) + bias.unsqueeze(-2)
        hidden = ~attention.repeat_heads(mask, knobs.num_heads)
        return projections.output(
            scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v, x.shape[-1], knobs.num_kv_heads
        )

    def step(
        self, x: Tensor, projections: Projections, knobs: S, context: Context, state: DecodeState | None = None
    ) -> tuple[Tensor, DecodeState]:
        """One decoded token; the state is k, v and b of the kept tokens, `[B, Hkv, <= keep, D]` and `[B, Hkv, ...]`."""
        q, k, v = qkv(x, projections, knobs)
        bias = self.importance(x, v)
        if state is not None:
            k, v, bias = (torch.cat(pair, dim=2) for pair in zip(state, (k, v, bias), strict=True))
            if bias.shape[2] > knobs.keep:
                left = _without_least(bias)
                k, v, bias = take_tokens(k, left), take_tokens(v, left), bias.gather(2, left)
        y = attention.decode(*_with_bias(q, k, bias), v)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v, bias)

    def prefill(self, x: Tensor, projections: Projections, knobs: S, context: Context) -> DecodeState:
        """k, v and b of the kept tokens, in the order of the sequence."""
        _, k, v = qkv(x, projections, knobs)
        bias = self.importance(x, v)
        kept = _order(bias).topk(min(knobs.keep, x.shape[1])).indices.sort().values
        return take_tokens(k, kept), take_tokens(v, kept), bias.gather(2, kept)

    @classmethod
    def cost(cls, knobs: S, site: Site) -> Cost:
        """Flops of the pairs that are computed; decoding keeps `keep` keys, values and their importance."""
        tokens, keep, width = site.tokens, min(knobs.keep, site.tokens), knobs.head_dim
        full = min(tokens, keep)
        inner = Cost(
            flops=4 * knobs.num_heads * (width + 1) * _executed_pairs(tokens, keep, is_causal=site.is_causal),
            kv_cache_bytes=4 * knobs.num_kv_heads * (2 * width + 1) * keep,
            pairs=full * (full + 1) / 2 + (tokens - full) * keep if site.is_causal else tokens * keep,
        )
        return projection_cost(knobs, site) + cls.importance_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: S, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


def _with_bias(q: Tensor, k: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """q and k with one more column, so that the scaled product of both is q k^T / sqrt D + b."""
    # the fused kernel has no gradient for an additive mask
    width = q.shape[-1]
    q = F.pad(q * math.sqrt((width + 1) / width), (0, 1), value=math.sqrt(width + 1))
    return q, torch.cat((k, bias.unsqueeze(-1)), dim=-1)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, keep: int, *, is_causal: bool) -> Tensor:
    tokens = k.shape[2]
    if keep >= tokens:
        return attention.dense(q, k, v, is_causal=is_causal)
    order = _order(bias)
    if not is_causal:
        kept = order.topk(keep).indices
        return attention.dense(q, take_tokens(k, kept), take_tokens(v, kept))
    if _gathers(tokens, keep):
        return _gathered(q, k, v, order, keep)
    mask = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).tril() & (_better(order, order) < keep)
    return attention.dense(q, k, v, mask=attention.repeat_heads(mask, q.shape[1]))


def _order(bias: Tensor) -> Tensor:
    """Place of each key in ascending importance, `[B, Hkv, T]`, no two alike."""
    return bias.argsort(dim=-1, stable=True).argsort(-1)


def _better(queries: Tensor, keys: Tensor) -> Tensor:
    """How many of the queries' own tokens up to each are placed above each key, `[..., queries, keys]`."""
    # the narrowest numbers that ONNX sums up
    return (queries.unsqueeze(-1) > keys.unsqueeze(-2)).cumsum(-2, dtype=torch.int32)


def _gathered(q: Tensor, k: Tensor, v: Tensor, order: Tensor, keep: int) -> Tensor:
    """Every block of queries with the `keep` best keys of the tokens before it and its own keys."""
    batch, kv_heads, tokens = order.shape
    padding = -tokens % BLOCK_SIZE
    own = torch.unflatten(F.pad(order, (0, padding), value=-1), 2, (-1, BLOCK_SIZE))
    start = BLOCK_SIZE * torch.arange(own.shape[2], device=q.device)
    earlier = torch.arange(tokens, device=q.device) < start.unsqueeze(-1)
    best = order.unsqueeze(2).masked_fill(~earlier, -1).topk(keep)
    mask = _block_mask(own, best.values, keep)
    blocks = [torch.unflatten(F.pad(part, (0, 0, 0, padding)), 2, (-1, BLOCK_SIZE)) for part in (q, k, v)]
    keys, values = (
        torch.cat((torch.unflatten(take_tokens(part, best.indices.flatten(2)), 2, (-1, keep)), block), dim=3)
        for part, block in ((k, blocks[1]), (v, blocks[2]))
    )
    # the query heads of a kv head become its queries
    queries = torch.unflatten(blocks[0], 1, (kv_heads, -1)).transpose(2, 3)
    groups = queries.shape[3]
    mask = mask.unsqueeze(3).expand(-1, -1, -1, groups, -1, -1)
    parts = (queries.flatten(3, 4), keys, values, mask.flatten(3, 4))
    flat_q, flat_k, flat_v, flat_mask = (part.flatten(0, 1) for part in parts)
    y = attention.dense(flat_q, flat_k, flat_v, mask=flat_mask)
    y = torch.unflatten(torch.unflatten(y, 0, (batch, kv_heads)), 3, (groups, BLOCK_SIZE))
    return y.transpose(2, 3).flatten(1, 2).flatten(2, 3)[:, :, :tokens]


def _block_mask(own: Tensor, earlier: Tensor, keep: int) -> Tensor:
    """Kept keys, bool `[B, Hkv, blocks, BLOCK_SIZE, keep + BLOCK_SIZE]`, of the places of both kinds of key.

    Args:
        own: Places of the block's tokens `[B, Hkv, blocks, BLOCK_SIZE]`.
        earlier: Places of the best earlier tokens, descending, -1 where there are fewer, `[B, Hkv, blocks, keep]`.
        keep: Keys that each query keeps.
    """
    rank = torch.arange(keep, device=own.device)
    # counts reach the block size at most
    room = (keep - rank).clamp_max(BLOCK_SIZE + 1).masked_fill(earlier < 0, 0).unsqueeze(-2)
    better = _better(own, earlier)
    stays = better < room.to(better.dtype)
    above = (earlier.unsqueeze(-2) > own.unsqueeze(-1)).sum(-1)
    joins = (_better(own, own) < (keep - above).clamp(-1, BLOCK_SIZE + 1).to(better.dtype).unsqueeze(-2)).tril()
    return torch.cat((stays, joins), dim=-1)


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens `index` `[B, H, n]` of x `[B, H, T, D]`, each head its own, `[B, H, n, D]`."""
    first = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(*x.shape[:2], 1) * x.shape[2]
    taken = x.flatten(0, 2).index_select(0, (first + index).flatten())
    return taken.view(*index.shape, x.shape[3])


def _without_least(bias: Tensor) -> Tensor:
    """Indices `[B, Hkv, n - 1]` of all but the least important, the earliest of equals."""
    left = torch.arange(bias.shape[2] - 1, device=bias.device)
    return left + (left >= bias.argmin(-1, keepdim=True))


def _gathers(tokens: int, keep: int) -> bool:
    return 2 * (keep + BLOCK_SIZE) < tokens


def _executed_pairs(tokens: int, keep: int, *, is_causal: bool) -> int:
    if not is_causal:
        return tokens * keep
    if keep < tokens and _gathers(tokens, keep):
        return -(-tokens // BLOCK_SIZE) * BLOCK_SIZE * (keep + BLOCK_SIZE)
    return tokens**2
