"""Softmax attention with narrow keys, wide values and a bias per offset as its only positions.

"LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference" (2021).

    q, k [B,H,T,D] from the block's maps;  v [B,H,T,rD];  b [H,T,T] by |offset|
    y = softmax(q k^T / sqrt D + b) v;  out = hardswish(y) W with W [HrD,C]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.kernels import attention
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost
from nas.operators.offset_bias import edges, new_bias, spread, spread_slowly

QK = frozenset("qk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads, the width of their keys, and how many times as wide their values are."""

    value_ratio: int


class Mixer(Operator[Knobs]):
    """Queries and keys are the block's; values and output are wider and its own."""

    knobs_type = Knobs
    suggested = {"value_ratio": (2, 1)}
    domains = frozenset(("image", "sequence"))
    projections = QK

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(one.num_heads for one in choices)
        inner = (heads, max(one.head_dim * one.value_ratio for one in choices))
        self.v, self.o = Elastic(inner, (site.embed_dim,)), Elastic((site.embed_dim,), inner)
        self.bias = new_bias(heads, site)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA with the bias as its mask."""
        bias = spread(self.bias, knobs.num_heads, context.site).unsqueeze(0)
        return self._output(attention.dense(*self._qkv(x, projections, knobs), mask=bias), x)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax, the bias pair by pair."""
        q, k, v = self._qkv(x, projections, knobs)
        scores = torch.einsum("bhtd,bhsd->bhts", q, k) / knobs.head_dim**0.5
        scores = scores + spread_slowly(self.bias, knobs.num_heads, context.site)
        return self._output(torch.einsum("bhts,bhsd->bhtd", scores.softmax(-1), v), x)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Scores and sums at the width of the values, which the fused kernel pads to."""
        values = knobs.num_heads * knobs.head_dim * knobs.value_ratio
        height, width = edges(site)
        inner = Cost(
            params=2 * values * site.embed_dim + knobs.num_heads * height * width,
            flops=4 * values * site.tokens * (site.tokens + site.embed_dim),
            kv_cache_bytes=4 * (knobs.num_heads * knobs.head_dim + values) * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs.heads, site, QK) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the keys."""
        return knobs.head_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        edges(site)

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        size = knobs.num_heads, knobs.head_dim
        v = self.v(x, knobs.num_heads, knobs.head_dim * knobs.value_ratio).transpose(1, 2)
        return projections.query(x, *size), projections.key(x, *size), v

    def _output(self, y: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.o(F.hardswish(y.transpose(1, 2)), x.shape[-1])
        return out
