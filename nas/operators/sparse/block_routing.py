"""Each query picks the key blocks it attends to by the blocks' mean keys.

"MoBA: Mixture of Block Attention for Long-Context LLMs" (2025). Bidirectional sites drop its causal rules.

    q [B,Hq,T,D], k, v [B,Hkv,T,D], n = ceil(T / block_size) blocks K_b
    gate(t, b) = q_t . mean(K_b), +inf for the own block, -inf for later blocks where causal;  no gradient
    y_t = softmax(q_t k^T / sqrt D over the topk best blocks, causal inside the own one) v;  out = y W_o

Every query token of every query head routes for itself (with the keys of its kv group), so nothing of later tokens
enters a choice. The price: no block of queries shares its keys. Long sequences sort their pairs of query and block
(`nas.kernels.query_blocks`): over full causal attention on one CPU thread, 4 heads of 16, one block of 64 takes 1.0,
0.7 and 0.4 of the time at 1024, 2048 and 4096 tokens, two take 2.4, 1.0 and 1.0, four 2.8, 2.8 and 1.6. Short ones run
under a dense mask, two to three times slower.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention, query_blocks
from nas.operators.contract import (
    KV,
    Context,
    Cost,
    HeadKnobs,
    KeyValues,
    Operator,
    Site,
    kv_state,
    projection_cost,
    qkv,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, and blocks per query with its own one counted; more than there are means all."""

    block_size: int
    topk: int


class Mixer(Operator[Knobs]):
    """Content-based block selection without parameters; all blocks chosen is full attention, without any mask."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2, 1)}
    domains = frozenset(("sequence", "causal"))
    publishes = KV

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The chosen blocks of each query, by chunks or under a mask."""
        q, k, v = qkv(x, projections, knobs, context)
        is_causal = context.site.is_causal
        if knobs.topk >= _num_blocks(x.shape[1], knobs.block_size):
            y = attention.dense(q, k, v, is_causal=is_causal)
        else:
            blocks = routed_blocks(q, k, knobs, is_causal=is_causal)
            y = query_blocks.attend(q, k, v, blocks, knobs.block_size, is_causal=is_causal)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; blocks are averaged one by one and ranked by sorting."""
        q, k, v = qkv(x, projections, knobs, context)
        block = torch.arange(x.shape[1], device=x.device) // knobs.block_size
        means = torch.stack([part.mean(2) for part in torch.split(k, knobs.block_size, dim=2)], dim=2)
        gates = q @ attention.repeat_heads(means, knobs.num_heads).transpose(-1, -2)
        ranks = _fenced(gates, block, is_causal=context.site.is_causal).argsort(-1, descending=True).argsort(-1)
        mask = (ranks < knobs.topk)[..., block]
        mask = mask.tril() if context.site.is_causal else mask
        return projections.output(attention.reference(q, k, v, mask), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far, block means are taken from it anew."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        is_routed = knobs.topk < _num_blocks(k.shape[2], knobs.block_size)
        # 8 heads, 2 of 16 blocks of 32 keys of width 16, one CPU thread: 67 us, and 73 when each head collects its own
        mask = newest_mask(q, k, knobs) if is_routed else None
        return projections.output(attention.decode(q, k, v, mask=mask), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed scores plus the gates; `pairs` assume even routing where the last block is short."""
        width, num_blocks = knobs.num_heads * knobs.head_dim, _num_blocks(site.tokens, knobs.block_size)
        scored, gates = site.tokens**2, 0
        if knobs.topk < num_blocks:
            gates = 2 * width * site.tokens * num_blocks
            scored = query_blocks.computed_pairs(site.tokens, knobs.topk, knobs.block_size)
        inner = Cost(
            flops=4 * width * scored + gates,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=_pairs(knobs, site),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


def _num_blocks(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)


@torch.no_grad()
def routed_blocks(q: Tensor, k: Tensor, knobs: Knobs, *, is_causal: bool) -> Tensor:
    """The blocks that each query chose, `[B, Hq, T, topk]`, -1 where a causal query has fewer; no gradient.

    Args:
        q: Queries `[B, Hq, T, D]`.
        k: Keys `[B, Hkv, T, D]`.
        knobs: Block size and number of blocks, at most as many as there are.
        is_causal: Apply the paper's causal rules.
    """
    block = torch.arange(q.shape[2], device=q.device) // knobs.block_size
    means = attention.repeat_heads(_block_means(k, knobs.block_size), knobs.num_heads)
    gates = _fenced(q @ means.transpose(-1, -2), block, is_causal=is_causal)
    values, chosen = gates.topk(knobs.topk, dim=-1)
    return chosen.masked_fill(values == -torch.inf, -1)


def newest_mask(q: Tensor, k: Tensor, knobs: Knobs) -> Tensor:
    """The keys of the newest token's blocks, `[B, Hq, 1, T]`, where there are more than `topk` blocks.

    Args:
        q: Query of the newest token `[B, Hq, 1, D]`.
        k: Keys of all T tokens `[B, Hkv, T, D]`.
        knobs: Block size and number of blocks.
    """
    tokens, size = k.shape[2], knobs.block_size
    past = _num_blocks(tokens, size) - 1
    means = torch.unflatten(k[:, :, : past * size], 2, (past, size)).mean(3)
    gates = q.reshape(k.shape[0], k.shape[1], -1, q.shape[3]) @ means.transpose(-1, -2)
    chosen = gates.topk(knobs.topk - 1, dim=-1).indices
    mask = torch.zeros_like(gates, dtype=torch.bool).scatter(-1, chosen, True)
    # the own block is always chosen
    mask = F.pad(mask, (0, 1), value=True).repeat_interleave(size, dim=-1)
    return mask[..., :tokens].reshape(*q.shape[:3], tokens)


def _block_means(k: Tensor, block_size: int) -> Tensor:
    """Mean key of each block, `[B, Hkv, blocks, D]`; a short last block averages what it has."""
    tokens = k.shape[2]
    num_blocks = _num_blocks(tokens, block_size)
    padded = F.pad(k, (0, 0, 0, num_blocks * block_size - tokens))
    sums = torch.unflatten(padded, 2, (num_blocks, block_size)).sum(3)
    sizes = tokens - block_size * torch.arange(num_blocks, device=k.device)
    return sums / sizes.clamp_max(block_size).unsqueeze(-1)


def _fenced(gates: Tensor, block: Tensor, *, is_causal: bool) -> Tensor:
    """Gates `[B, Hq, T, blocks]` that always choose the own block and later ones last."""
    blocks = torch.arange(gates.shape[-1], device=gates.device)
    gates = gates.masked_fill(blocks == block.unsqueeze(-1), torch.inf)
    return gates.masked_fill(blocks > block.unsqueeze(-1), -torch.inf) if is_causal else gates


def _pairs(knobs: Knobs, site: Site) -> float:
    """Visible pairs of one head: exact where causal (past blocks are whole), expected under even routing otherwise."""
    size, tokens = knobs.block_size, site.tokens
    num_blocks = _num_blocks(tokens, size)
    total = 0.0
    for block in range(num_blocks):
        own = min(size, tokens - block * size)
        if site.is_causal:
            total += own * min(knobs.topk - 1, block) * size + own * (own + 1) / 2
        else:
            share = min(1.0, (knobs.topk - 1) / (num_blocks - 1)) if num_blocks > 1 else 0.0
            total += own * (own + share * (tokens - own))
    return total
