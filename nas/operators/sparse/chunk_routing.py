"""Each block of queries picks tokens by the scores of chunks of varying length, cut where the keys change.

"Long-Context Modeling with Dynamic Hierarchical Sparse Attention for On-Device LLMs" (DHSA, 2025).

    l_p, r_p = mean key of the 4 tokens before p and of the 4 from p on, all kv heads side by side [Hkv D]
    cut at p iff cos(l_p, r_p) < 1/2 is the least within 4 tokens of p, and at every multiple of block_size
    chunk key c_j = sum of its keys / sqrt(length);  score of block b for chunk j = sum over heads of q_{t_b} c_j
    block b sees its own tokens and the block before, causally, and the `budget` earlier tokens of best chunk score,
    the first 4 tokens before all others;  y = softmax(q k^T / sqrt D over those) v;  out = y W_o

The paper trains a perceptron on l, r, |l - r|, l r and cos apart from the model; here cos alone says where to cut. The
causal form is ours: the first query t_b of a block chooses for it, and no cut depends on keys beyond its block.
Choices have no gradient; of one chunk the later tokens are taken first. Pays at 4096 tokens, not at 1024.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, kv_state, projection_cost, qkv
from nas.operators.key_selection import take_tokens

SIDE, FIRST, SIMILAR = 4, 4, 0.5
DecodeState = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, which is also the longest chunk, and picked tokens (more than there are means all)."""

    block_size: int
    budget: int

    def picked(self, tokens: int) -> int:
        """Tokens that the last block of so many tokens picks."""
        return min(self.budget, max(0, ((tokens - 1) // self.block_size - 1) * self.block_size))

    def gathers(self, tokens: int) -> bool:
        """Whether gathering beats a dense mask."""
        return 2 * (self.picked(tokens) + 2 * self.block_size) < tokens


class Mixer(Operator[Knobs]):
    """Picked tokens are gathered once for all heads of a block."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "budget": (256, 128, 64)}
    domains = frozenset(("causal",))
    publishes = KV

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Gathered tokens, or a dense mask where those are most."""
        q, k, v = qkv(x, projections, knobs, context)
        tokens = x.shape[1]
        if tokens <= 2 * knobs.block_size:
            return projections.output(attention.dense(q, k, v, is_causal=True), x.shape[-1], knobs.num_kv_heads)
        picked, is_real = _picked(q[:, :, :: knobs.block_size], k, knobs)
        run = _gathered if knobs.gathers(tokens) else _masked
        return projections.output(run(q, k, v, picked, is_real, knobs), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; chunk by chunk, block by block."""
        q, k, v = qkv(x, projections, knobs, context)
        rows = [_obvious_mask(q[b], k[b], knobs) for b in range(x.shape[0])]
        return projections.output(
            attention.reference(q, k, v, torch.stack(rows).unsqueeze(1)), x.shape[-1], knobs.num_kv_heads
        )

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: DecodeState | None = None
    ) -> tuple[Tensor, DecodeState]:
        """One decoded token; the state is k and v of all tokens and those that its block picked, as 32-bit numbers."""
        q, k, v = qkv(x, projections, knobs, context, cache=None if state is None else state[:2])
        tokens = k.shape[2]
        is_start = (tokens - 1) % knobs.block_size == 0
        picked = _last_picked(q, k, knobs) if state is None or is_start else state[2]
        local = max(0, ((tokens - 1) // knobs.block_size - 1) * knobs.block_size)
        index = picked.long().unsqueeze(1).expand(-1, k.shape[1], -1)
        keys, values = (torch.cat((take_tokens(part, index), part[:, :, local:]), dim=2) for part in (k, v))
        return projections.output(attention.decode(q, keys, values), x.shape[-1], knobs.num_kv_heads), (k, v, picked)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> DecodeState:
        """k, v and what the last block picked."""
        k, v = kv_state(x, projections, knobs, context)
        start = (x.shape[1] - 1) // knobs.block_size * knobs.block_size
        q = projections.query(x[:, start : start + 1], knobs.num_heads, knobs.head_dim, knobs.num_kv_heads)
        return k, v, _last_picked(q, k[:, :, : start + 1], knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed pairs and chunk scores; `pairs` are exact."""
        tokens, size, width = site.tokens, knobs.block_size, knobs.head_dim
        blocks, picked = -(-tokens // size), knobs.picked(tokens)
        executed = blocks * size * (picked + 2 * size) if tokens > 2 * size and knobs.gathers(tokens) else tokens**2
        scored = 2 * blocks * tokens * knobs.num_kv_heads * width if tokens > 2 * size else 0
        inner = Cost(
            flops=4 * knobs.num_heads * width * executed + scored,
            kv_cache_bytes=8 * knobs.num_kv_heads * width * tokens + 4 * picked,
            pairs=sum(_pairs(knobs, position) for position in range(tokens)),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


@torch.no_grad()
def chunks(keys: Tensor, block_size: int) -> Tensor:
    """Chunk number of every token, `[B, T]`, of keys `[B, T, W]`."""
    tokens = keys.shape[1]
    position = torch.arange(tokens, device=keys.device)
    fenced = position % block_size == 0
    if tokens <= 4 * SIDE:
        return fenced.cumsum(0).expand(keys.shape[0], -1) - 1
    means = F.avg_pool1d(keys.transpose(1, 2), SIDE, 1).transpose(1, 2)
    cosine = F.cosine_similarity(means[:, :-SIDE], means[:, SIDE:], dim=-1)
    # cosine p belongs to the cut in front of token p + SIDE
    cosine = F.pad(cosine, (SIDE, SIDE - 1), value=2.0)
    least = -F.max_pool1d(-cosine, 2 * SIDE + 1, 1, SIDE)
    # all that the cut depends on, up to 2 SIDE - 1 tokens ahead, lies inside the block
    is_inside = position % block_size < block_size - (2 * SIDE - 1)
    return (fenced | ((cosine == least) & (cosine < SIMILAR) & is_inside)).cumsum(1) - 1


def _scores(first: Tensor, k: Tensor, block_size: int) -> Tensor:
    """Chunk score of every token `[B, n, T]` for the first queries `[B, Hq, n, D]` of n blocks."""
    keys = k.transpose(1, 2).flatten(2)
    chunk = chunks(keys, block_size)
    index = chunk.unsqueeze(-1).expand_as(keys)
    sums = torch.zeros_like(keys).scatter_add(1, index, keys)
    sizes = torch.zeros_like(keys[..., 0]).scatter_add(1, chunk, torch.ones_like(keys[..., 0]))
    heads = torch.unflatten(first, 1, (k.shape[1], -1)).sum(2)
    # chunks that do not exist have sums of zero
    scores = heads.transpose(1, 2).flatten(2) @ (sums / sizes.clamp_min(1).sqrt().unsqueeze(-1)).transpose(1, 2)
    return scores.gather(2, chunk.unsqueeze(1).expand(-1, scores.shape[1], -1))


@torch.no_grad()
def _picked(first: Tensor, k: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor]:
    """Picked tokens of every block `[B, n, picked]`, best first, and which are real `[n, picked]`."""
    size, tokens, count = knobs.block_size, k.shape[2], knobs.picked(k.shape[2])
    position = torch.arange(tokens, device=k.device)
    ends = size * (torch.arange(first.shape[2], device=k.device) - 1)
    scores = _scores(first, k, size).masked_fill(position < FIRST, torch.inf)
    scores = scores.masked_fill(position >= ends.unsqueeze(-1), -torch.inf)
    order = tokens - 1 - scores.flip(-1).argsort(dim=-1, descending=True, stable=True)
    return order[..., :count], torch.arange(count, device=k.device) < ends.unsqueeze(-1)


@torch.no_grad()
def _last_picked(q: Tensor, k: Tensor, knobs: Knobs) -> Tensor:
    """What the block picks whose first query is q `[B, Hq, 1, D]`, the newest of T tokens, `[B, picked]`."""
    count = knobs.picked(k.shape[2])
    if count == 0:
        return torch.zeros(k.shape[0], 0, dtype=torch.int32, device=k.device)
    earlier = k.shape[2] - 1 - knobs.block_size
    scores = _scores(q, k, knobs.block_size)[:, 0, :earlier]
    scores = scores.masked_fill(torch.arange(earlier, device=k.device) < FIRST, torch.inf)
    order = scores.flip(-1).argsort(dim=-1, descending=True, stable=True)
    return (earlier - 1 - order[:, :count]).int()


def _gathered(q: Tensor, k: Tensor, v: Tensor, picked: Tensor, is_real: Tensor, knobs: Knobs) -> Tensor:
    size, tokens, blocks = knobs.block_size, q.shape[2], picked.shape[1]
    index = picked.flatten(1).unsqueeze(1).expand(-1, k.shape[1], -1)

    def collected(x: Tensor) -> Tensor:
        own = torch.unflatten(F.pad(x, (0, 0, 0, -tokens % size)), 2, (blocks, size))
        before = F.pad(own, (0, 0, 0, 0, 1, 0))[:, :, :-1]
        parts = torch.unflatten(take_tokens(x, index), 2, (blocks, -1)), before, own
        return attention.repeat_heads(torch.cat(parts, dim=3), q.shape[1]).flatten(0, 1)

    # the fused kernel takes no mask of three axes
    mask = _block_mask(is_real, size).unsqueeze(0)
    queries = torch.unflatten(F.pad(q, (0, 0, 0, -tokens % size)), 2, (blocks, size)).flatten(0, 1)
    y = attention.dense(queries, collected(k), collected(v), mask=mask)
    return torch.unflatten(y, 0, q.shape[:2]).flatten(2, 3)[:, :, :tokens]


def _block_mask(is_real: Tensor, size: int) -> Tensor:
    """Visible among picked tokens, the block before and the own one, `[n, size, picked + 2 size]`."""
    blocks = is_real.shape[0]
    has_before = (torch.arange(blocks, device=is_real.device) > 0).view(-1, 1, 1).expand(-1, size, size)
    own = torch.ones(size, size, dtype=torch.bool, device=is_real.device).tril().expand(blocks, -1, -1)
    return torch.cat((is_real.unsqueeze(1).expand(-1, size, -1), has_before, own), dim=-1)


def _masked(q: Tensor, k: Tensor, v: Tensor, picked: Tensor, is_real: Tensor, knobs: Knobs) -> Tensor:
    tokens, position = q.shape[2], torch.arange(q.shape[2], device=q.device)
    block = position // knobs.block_size
    near = (block.unsqueeze(-1) - block <= 1) & (position <= position.unsqueeze(-1))
    chosen = torch.zeros(*picked.shape[:2], tokens, dtype=torch.bool, device=q.device)
    chosen = chosen.scatter(-1, picked, is_real.expand_as(picked))
    return attention.dense(q, k, v, mask=(chosen[:, block] | near).unsqueeze(1))


def _obvious_mask(q: Tensor, k: Tensor, knobs: Knobs) -> Tensor:
    """Visible pairs of one sample `[T, T]`, q `[Hq, T, D]`."""
    size, wide = knobs.block_size, attention.repeat_heads(k.unsqueeze(0), q.shape[0])[0]
    chunk = chunks(k.transpose(0, 1).flatten(1).unsqueeze(0), size)[0]
    mask = torch.zeros(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device)
    for start in range(0, q.shape[1], size):
        earlier, scores = max(0, start - size), []
        for token in range(earlier):
            members = wide[:, chunk == chunk[token]]
            score = (q[:, start] * members.sum(1)).sum() / members.shape[1] ** 0.5
            scores.append((torch.inf if token < FIRST else round(score.item(), 10), token))
        mask[start : start + size, earlier : start + size] = True
        mask[start : start + size, [token for _, token in sorted(scores, reverse=True)[: knobs.budget]]] = True
    return mask.tril()


def _pairs(knobs: Knobs, position: int) -> int:
    start = position // knobs.block_size * knobs.block_size
    return position + 1 - max(0, start - knobs.block_size) + min(knobs.budget, max(0, start - knobs.block_size))
