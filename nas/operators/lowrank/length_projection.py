"""Attention over `rank` learned summaries of the keys and values instead of all tokens.

"Linformer: Self-Attention with Linear Complexity" (2020), with one pair of maps for all heads of a layer. A summary
mixes tokens of all positions, so there is no causal form.

    k' = E k, v' = F v [B,Hkv,R,D] with E, F [R,T];  y = softmax(q k'^T / sqrt D) v';  out = y W_o
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads and the number of summaries that are left of the tokens."""

    rank: int


class Mixer(Operator[Knobs]):
    """Full attention on the first `rank` summaries; shorter inputs use the maps' first columns."""

    knobs_type = Knobs
    suggested = {"rank": (128, 64, 32, 16)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        shape = max(knobs.rank for knobs in choices), site.tokens
        self.keys = nn.Parameter(torch.randn(shape) / math.sqrt(site.tokens))
        self.values = nn.Parameter(torch.randn(shape) / math.sqrt(site.tokens))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on the summaries."""
        return projections.output(attention.dense(*self._qkv(x, projections, knobs)), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax on the summaries."""
        return projections.output(
            attention.reference(*self._qkv(x, projections, knobs)), x.shape[-1], knobs.num_kv_heads
        )

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every token reaches every other one through the summaries; those are what has to be kept."""
        width = knobs.num_heads * knobs.head_dim
        kv_width = knobs.num_kv_heads * knobs.head_dim
        inner = Cost(
            params=2 * knobs.rank * site.tokens,
            flops=4 * (width + kv_width) * knobs.rank * site.tokens,
            kv_cache_bytes=8 * kv_width * knobs.rank,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The number of summaries."""
        return knobs.rank

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """No more summaries than tokens."""
        if knobs.rank > site.tokens:
            raise ArchError(f"rank must be at most the {site.tokens} tokens, got {knobs.rank}: lower it")

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv(x, projections, knobs)
        corner = (slice(knobs.rank), slice(x.shape[1]))
        return q, self.keys[corner] @ k, self.values[corner] @ v
