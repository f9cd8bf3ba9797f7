"""Attention whose heads talk: scores are mixed over heads before the softmax and after it, values convolved beside.

"Rethinking Vision Transformers for MobileNet Size and Speed" (EfficientFormerV2, 2022), after "Talking-Heads
Attention" (2020). Its half-resolution form is `low_resolution`'s.

    s = M_1 (q k^T / sqrt D + b), w = M_2 softmax(s), M [H,H] over heads, b [H,T,T] by |offset|;  v [B,H,T,rD]
    out = gelu(w v + dw_k(v)) W with W [HrD,C]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost
from nas.operators.offset_bias import edges, new_bias, spread, spread_slowly
from nas.operators.taps import check_kernel, convolved, convolved_slowly, offsets

QK = frozenset("qk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads, the width of their keys, how many times as wide their values are, and the kernel beside."""

    value_ratio: int
    kernel_size: int

    def __post_init__(self) -> None:
        EqualHeadKnobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Scores of all heads are held at once, so no fused kernel serves it: slower than softmax at every length."""

    knobs_type = Knobs
    suggested = {"value_ratio": (2, 1), "kernel_size": (3, 1)}
    domains = frozenset(("image", "sequence"))
    projections = QK

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(one.num_heads for one in choices)
        width = max(one.head_dim * one.value_ratio for one in choices)
        self.v, self.o = Elastic((heads, width), (site.embed_dim,)), Elastic((site.embed_dim,), (heads, width))
        count = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        self.taps = nn.Parameter(torch.randn(heads, width, count) / math.sqrt(count))
        self.bias = new_bias(heads, site)
        self.before, self.after = nn.Parameter(torch.eye(heads)), nn.Parameter(torch.eye(heads))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Products over heads, then over tokens."""
        heads, q, k, v = knobs.num_heads, *self._qkv(x, projections, knobs)
        scores = q @ k.transpose(-1, -2) / knobs.head_dim**0.5 + spread(self.bias, heads, context.site)
        talked = (self.before[:heads, :heads] @ scores.flatten(2)).view(scores.shape).softmax(-1)
        weights = (self.after[:heads, :heads] @ talked.flatten(2)).view(scores.shape)
        local = convolved(v.transpose(1, 2).flatten(2), self._taps(knobs), knobs.kernel_size, context.site)
        return self._output(weights @ v, local, x)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Head by head."""
        heads, q, k, v = knobs.num_heads, *self._qkv(x, projections, knobs)
        bias = spread_slowly(self.bias, heads, context.site)
        scores = [q[:, h] @ k[:, h].mT / math.sqrt(knobs.head_dim) + bias[h] for h in range(heads)]
        soft = [_talked(scores, self.before[h]).softmax(-1) for h in range(heads)]
        mixed = [_talked(soft, self.after[h]) @ v[:, h] for h in range(heads)]
        local = convolved_slowly(v.transpose(1, 2).flatten(2), self._taps(knobs), knobs.kernel_size, context.site)
        return self._output(torch.stack(mixed, dim=1), local, x)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Scores, sums, and two products over heads for every pair."""
        heads, keys = knobs.num_heads, knobs.num_heads * knobs.head_dim
        values, taps = keys * knobs.value_ratio, len(offsets(knobs.kernel_size, site.domain))
        height, width = edges(site)
        inner = Cost(
            params=values * (2 * site.embed_dim + taps) + heads * height * width + 2 * heads**2,
            flops=2 * site.tokens * values * (2 * site.embed_dim + taps)
            + 2 * site.tokens**2 * (keys + values + 2 * heads**2),
            kv_cache_bytes=4 * (keys + values) * site.tokens,
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

    def _taps(self, knobs: Knobs) -> Tensor:
        return self.taps[: knobs.num_heads, : knobs.head_dim * knobs.value_ratio].flatten(0, 1)

    def _output(self, y: Tensor, local: Tensor, x: Tensor) -> Tensor:
        merged = y.transpose(1, 2)
        out: Tensor = self.o(F.gelu(merged + local.view(merged.shape)), x.shape[-1])
        return out


def _talked(heads: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The heads' weighted sum."""
    return (torch.stack(tuple(heads), dim=-1) * weights[: len(heads)]).sum(-1)
