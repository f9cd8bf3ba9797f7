"""Convolutional modulation: values weighted by a large depthwise convolution of what would be queries, no softmax.

"PMAA: A Progressive Multi-scale Attention Autoencoder Model for High-Performance Cloud Removal from Multi-temporal
Satellite Imagery" (2023), after "Conv2Former" (2022).

    a = dw_k(gelu(x W_q)) [B,T,H D];  y = a * (x W_v);  out = y W_o
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost
from nas.operators.taps import (
    check_kernel,
    convolved,
    convolved_last,
    convolved_slowly,
    grid_of,
    offsets,
    visited,
)

QVO = frozenset("qvo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Width as heads of the shared projections, and the edge of the kernel."""

    kernel_size: int

    def __post_init__(self) -> None:
        EqualHeadKnobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Linear in the tokens; uses the block's q, v and o."""

    knobs_type = Knobs
    suggested = {"kernel_size": (11, 7, 5)}
    projections = QVO

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        count = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        heads, width = (max(getattr(one, name) for one in choices) for name in ("num_heads", "head_dim"))
        self.taps = nn.Parameter(torch.randn(heads, width, count) / math.sqrt(count))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One grouped convolution."""
        weights = convolved(self._queries(x, projections, knobs), self._taps(knobs), knobs.kernel_size, context.site)
        return self._output(weights, x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A sum over shifted copies."""
        queries = self._queries(x, projections, knobs)
        weights = convolved_slowly(queries, self._taps(knobs), knobs.kernel_size, context.site)
        return self._output(weights, x, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is what the convolution reads of the last kernel_size - 1 tokens."""
        queries = self._queries(x, projections, knobs)
        seen = queries if state is None else torch.cat((state, queries), dim=1)
        weights = convolved_last(seen, self._taps(knobs), knobs.kernel_size)
        kept = seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]
        return self._output(weights, x, projections, knobs), kept

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The same of the last tokens."""
        return self._queries(x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :], projections, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Pairs are the taps that fall inside the grid, flops those of all taps."""
        taps, width = len(offsets(knobs.kernel_size, site.domain)), knobs.num_heads * knobs.head_dim
        inner = Cost(
            params=width * taps,
            flops=2 * site.tokens * width * taps,
            kv_cache_bytes=4 * width * min(knobs.kernel_size - 1, site.tokens),
            pairs=visited(knobs.kernel_size, site),
        )
        return projection_cost(knobs.heads, site, QVO) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of all heads: every channel has its own token mixing."""
        return knobs.num_heads * knobs.head_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        if site.domain == "image":
            grid_of(site)

    def _queries(self, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        return F.gelu(projections.query(x, knobs.num_heads, knobs.head_dim).transpose(1, 2).flatten(2))

    def _taps(self, knobs: Knobs) -> Tensor:
        return self.taps[: knobs.num_heads, : knobs.head_dim].flatten(0, 1)

    def _output(self, weights: Tensor, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        values = projections.value(x, knobs.num_heads, knobs.head_dim)
        heads = weights.reshape(*weights.shape[:2], knobs.num_heads, knobs.head_dim).transpose(1, 2)
        return projections.output(heads * values, x.shape[-1])
