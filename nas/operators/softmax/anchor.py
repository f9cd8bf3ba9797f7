"""Full attention that also says which key blocks mattered, for `oracle_blocks` and `reused_blocks` behind it.

The full layers of "HySparse: A Hybrid Sparse Attention Architecture with Oracle Token Selection and KV Cache Sharing"
(2026) and the anchors of "Kascade: A Practical Sparse Attention Method for Long-Context LLM Inference" (2025).

    A = softmax(q k^T / sqrt D) [B,Hq,T,T];  y = A v;  out = y W_o;  published: k, v and the topk blocks of each query
    by their greatest weight, over the query heads of a kv head
"""

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
    """Computes scores a second time to look for the greatest, so it is slower than softmax; those behind it pay."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2)}
    domains = frozenset(("sequence", "causal"))
    publishes = frozenset(("k", "v", chosen_blocks.NAME))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA, and scores of some queries at a time."""
        q, k, v = qkv(x, projections, knobs, context)
        is_causal = context.site.is_causal
        blocks = chosen_blocks.choose(q, k, knobs.block_size, knobs.topk, is_causal=is_causal)
        context.published[chosen_blocks.NAME] = blocks
        return projections.output(attention.dense(q, k, v, is_causal=is_causal), x.shape[-1], knobs.num_kv_heads)

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
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token; the state is k, v and the chosen blocks of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=None if state is None else state[:2])
        blocks = chosen_blocks.choose(q, k, knobs.block_size, knobs.topk, is_causal=False)
        blocks = blocks if state is None else torch.cat((state[2], blocks), dim=2)
        context.published[chosen_blocks.NAME] = blocks
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v, blocks)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """k, v and the choice of every token."""
        self(x, projections, knobs, context)
        k, v = (context.published[name].contiguous() for name in "kv")
        context.published.update(k=k, v=v)
        return k, v, context.published[chosen_blocks.NAME]

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every pair and the scores to choose by; the choice of every token is kept."""
        again = chosen_blocks.scored(site.tokens, site.tokens, is_causal=site.is_causal)
        kept = knobs.num_kv_heads * (2 * knobs.head_dim + knobs.topk)
        inner = Cost(
            flops=2 * knobs.num_heads * knobs.head_dim * (2 * site.tokens**2 + again),
            kv_cache_bytes=4 * kept * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim
