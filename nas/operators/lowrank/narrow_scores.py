"""Attention whose scores have a lower rank than its values: narrow queries and keys beside full values.

"Dynamic Rank Reinforcement Learning for Adaptive Low-Rank Multi-Head Self Attention in Large Language Models" (2025)
with the rank chosen by the search instead of per input; "FUME" has queries and keys of C/8 beside full values.

    q = x W_q [B,Hq,T,R], k = x W_k [B,Hkv,T,R], v [B,Hkv,T,D];  y = softmax(q k^T / sqrt D) v;  out = y W_o

The fused kernel wants equal widths and pads q and k to that of v: parameters, projections and the cache shrink, the
time of the scores does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, projection_cost

VO = frozenset("vo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, the width of their values, and that of their queries and keys."""

    score_rank: int

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.score_rank > self.head_dim:
            raise ArchError(
                f"score_rank must be at most head_dim, got {self.score_rank} and {self.head_dim}: change one"
            )


class Mixer(Operator[Knobs]):
    """Full attention, causal where the site is; a smaller rank uses the first columns of its own queries and keys."""

    knobs_type = Knobs
    suggested = {"score_rank": (16, 8, 4)}
    projections = VO

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        rank = max(knobs.score_rank for knobs in choices)
        self.q = Elastic((max(knobs.num_heads for knobs in choices), rank), (site.embed_dim,))
        self.k = Elastic((max(knobs.num_kv_heads for knobs in choices), rank), (site.embed_dim,))

    def inherit(self, projections: Projections) -> None:
        """Queries and keys by the singular vectors of each head's scores, the largest first.

        Nothing changes unless every head had keys of its own, as many heads, and at least this rank.
        """
        q, k, (heads, rank) = projections.q, projections.k, self.q.weight.shape[:2]
        if q is None or k is None or not len(q.weight) == len(k.weight) == heads == len(self.k.weight):
            return
        if q.weight.shape[1] < rank:
            return
        left, sizes, right = torch.linalg.svd(q.weight.mT.double() @ k.weight.double(), full_matrices=False)
        roots = sizes[:, :rank, None].sqrt()
        self.q.weight.copy_(left[..., :rank].mT * roots)
        self.k.weight.copy_(right[:, :rank] * roots)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA."""
        q, k, v = self._qkv(x, projections, knobs)
        return projections.output(
            attention.dense(q, k, v, is_causal=context.site.is_causal), x.shape[-1], knobs.num_kv_heads
        )

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax."""
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return projections.output(
            attention.reference(*self._qkv(x, projections, knobs), mask), x.shape[-1], knobs.num_kv_heads
        )

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is the narrow keys and the values so far."""
        q, k, v = self._qkv(x, projections, knobs)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """Keys and values of the tokens."""
        _, k, v = self._qkv(x, projections, knobs)
        return k.contiguous(), v.contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Scores are computed at the width of the values, see above."""
        narrow = knobs.score_rank * (knobs.num_heads + knobs.num_kv_heads) * site.embed_dim
        inner = Cost(
            params=narrow,
            flops=2 * narrow * site.tokens + 4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=4 * knobs.num_kv_heads * (knobs.score_rank + knobs.head_dim) * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site, VO) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of queries and keys."""
        return knobs.score_rank

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        q = by_group(self.q(x, knobs.num_heads, knobs.score_rank).transpose(1, 2), knobs.num_kv_heads, dim=1)
        k = self.k(x, knobs.num_kv_heads, knobs.score_rank).transpose(1, 2)
        # the kernels divide by the square root of the width they see
        q = q * math.sqrt(knobs.score_rank / knobs.head_dim)
        return q, k, projections.value(x, knobs.num_kv_heads, knobs.head_dim)
