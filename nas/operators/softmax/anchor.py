"""Full attention that also says which key blocks mattered, for `oracle_blocks` and `reused_blocks` behind it.

The full layers of "HySparse: A Hybrid Sparse Attention Architecture with Oracle Token Selection and KV Cache Sharing"
(2026) and the anchors of "Kascade: A Practical Sparse Attention Method for Long-Context LLM Inference" (2025).

    A = softmax(q k^T / sqrt D) [B,Hq,T,T];  y = A v;  out = y W_o;  published: k, v and the topk blocks of each query
    by their greatest weight, over the query heads of a kv head
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention
from nas.operators import chosen_blocks
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

State = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, and blocks that each query names."""

    block_size: int
    topk: int


class Mixer(Operator[Knobs]):
    """Holds all weights to look for the greatest, so it is slower than softmax; those behind it are what pays."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2)}
    domains = frozenset(("sequence", "causal"))
    publishes = frozenset(("k", "v", chosen_blocks.NAME))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit weights, since their greatest are asked for."""
        q, k, v = qkv(x, projections, knobs, context)
        weights = _weights(q, k, is_causal=context.site.is_causal)
        own = torch.arange(x.shape[1], device=x.device) // knobs.block_size
        own = own if context.site.is_causal else torch.full_like(own, int(x.shape[1]))
        context.published[chosen_blocks.NAME] = _chosen(weights, knobs, own)
        return projections.output(weights @ attention.repeat_heads(v, knobs.num_heads), x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Query by query."""
        q, k, v = qkv(x, projections, knobs, context)
        k, v, rows, blocks = (*(attention.repeat_heads(part, knobs.num_heads) for part in (k, v)), [], [])
        for t in range(x.shape[1]):
            last = t + 1 if context.site.is_causal else x.shape[1]
            weights = (torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, :last]) / knobs.head_dim**0.5).softmax(-1)
            rows.append(torch.einsum("bhs,bhsd->bhd", weights, v[:, :, :last]))
            best = torch.stack([part.amax(-1) for part in torch.split(weights, knobs.block_size, dim=-1)], dim=-1)
            best = best.view(x.shape[0], knobs.num_kv_heads, -1, best.shape[-1]).amax(2)
            named = best.argsort(dim=-1, descending=True)[..., : knobs.topk]
            blocks.append(torch.nn.functional.pad(named, (0, knobs.topk - named.shape[-1]), value=-1))
        context.published[chosen_blocks.NAME] = torch.stack(blocks, dim=2)
        return projections.output(torch.stack(rows, dim=2), x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token; the state is k, v and the chosen blocks of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=None if state is None else state[:2])
        weights = _weights(q, k, is_causal=False)
        blocks = _chosen(weights, knobs, torch.tensor([(k.shape[2] - 1) // knobs.block_size], device=x.device))
        blocks = blocks if state is None else torch.cat((state[2], blocks), dim=2)
        context.published[chosen_blocks.NAME] = blocks
        return projections.output(weights @ attention.repeat_heads(v, knobs.num_heads), x.shape[-1]), (k, v, blocks)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """k, v and the choice of every token."""
        self(x, projections, knobs, context)
        k, v = (context.published[name].contiguous() for name in "kv")
        context.published.update(k=k, v=v)
        return k, v, context.published[chosen_blocks.NAME]

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every allowed pair, and the choice of every token kept."""
        kept = knobs.num_kv_heads * (2 * knobs.head_dim + knobs.topk)
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=4 * kept * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


def _weights(q: Tensor, k: Tensor, *, is_causal: bool) -> Tensor:
    scores: Tensor = q @ attention.repeat_heads(k, q.shape[1]).transpose(-1, -2) / math.sqrt(q.shape[-1])
    if is_causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1)


def _chosen(weights: Tensor, knobs: Knobs, own: Tensor) -> Tensor:
    return chosen_blocks.choose(weights, knobs.num_kv_heads, knobs.block_size, knobs.topk, own)
