"""Local attention whose queries are learned, one per head: two depthwise convolutions in place of all scores.

The QnA layer of "Single Motion Diffusion" (2023), after "Learned Queries for Efficient Local Attention" (2022), with a
soft cap on scores in place of a running maximum.

    s = 20 tanh(k q_h / (20 |q_h| sqrt D)) [B,H,T], one number per key;  b_h [taps] a bias per offset
    y_t = sum_d e^{s_{t+d} + b_d} v_{t+d} / sum_d e^{s_{t+d} + b_d} over the offsets of a kernel;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost
from nas.operators.taps import check_kernel, convolved, convolved_last, grid_of, offsets, shifted, visited

KVO, CAP = frozenset("kvo"), 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads, their width, and the edge of the window."""

    kernel_size: int

    def __post_init__(self) -> None:
        EqualHeadKnobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Linear in the tokens, without a map for queries and without scores of pairs."""

    knobs_type = Knobs
    suggested = {"kernel_size": (7, 5, 3)}
    projections = KVO

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        self.query = nn.Parameter(torch.randn(heads, width))
        count = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        self.bias = nn.Parameter(torch.zeros(heads, count))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Sums of weighted values and of weights by one grouped convolution."""
        sums = convolved(self._weighted(x, projections, knobs), self._taps(knobs), knobs.kernel_size, context.site)
        return self._output(sums, x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """An explicit softmax over the window of every token."""
        site, places = context.site, offsets(knobs.kernel_size, context.site.domain)
        scores = self._scores(x, projections, knobs).transpose(1, 2)
        values = projections.value(x, knobs.num_heads, knobs.head_dim).transpose(1, 2).flatten(2)
        real = x.new_ones(1, x.shape[1], 1)
        inside = torch.cat([shifted(real, place, site) for place in places], dim=-1).bool().unsqueeze(2)
        near = torch.stack([shifted(scores, place, site) for place in places], dim=-1)
        weights = (near + self.bias[: knobs.num_heads, : len(places)]).masked_fill(~inside, -torch.inf).softmax(-1)
        seen = torch.stack([shifted(values, place, site) for place in places], dim=-1)
        y = seen.view(*x.shape[:2], knobs.num_heads, knobs.head_dim, -1) * weights.unsqueeze(3)
        return projections.output(y.sum(-1).transpose(1, 2), x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is weighted values and weights of the last kernel_size - 1 tokens."""
        weighted = self._weighted(x, projections, knobs)
        seen = weighted if state is None else torch.cat((state, weighted), dim=1)
        sums = convolved_last(seen, self._taps(knobs), knobs.kernel_size)
        kept = seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]
        return self._output(sums, x, projections, knobs), kept

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The same of the last tokens."""
        return self._weighted(x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :], projections, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """One number more than the values per head goes through the convolution."""
        taps, inner = len(offsets(knobs.kernel_size, site.domain)), knobs.num_heads * (knobs.head_dim + 1)
        own = Cost(
            params=knobs.num_heads * (knobs.head_dim + taps),
            flops=2 * site.tokens * (knobs.num_heads * knobs.head_dim + inner * taps),
            kv_cache_bytes=4 * inner * min(knobs.kernel_size - 1, site.tokens),
            pairs=visited(knobs.kernel_size, site),
        )
        return projection_cost(knobs.heads, site, KVO) + own

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of all heads: values are summed as they are."""
        return knobs.num_heads * knobs.head_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        if site.domain == "image":
            grid_of(site)

    def _scores(self, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        """`[B, H, T]`."""
        query = F.normalize(self.query[: knobs.num_heads, : knobs.head_dim], dim=-1) / knobs.head_dim**0.5
        key = projections.key(x, knobs.num_heads, knobs.head_dim)
        return CAP * torch.tanh((key @ query.unsqueeze(-1)).squeeze(-1) / CAP)

    def _weighted(self, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        """e^s v and e^s side by side, `[B, T, H (D + 1)]`."""
        weights = self._scores(x, projections, knobs).exp().unsqueeze(-1)
        values = F.pad(projections.value(x, knobs.num_heads, knobs.head_dim), (0, 1), value=1.0)
        return (weights * values).transpose(1, 2).flatten(2)

    def _taps(self, knobs: Knobs) -> Tensor:
        return self.bias[: knobs.num_heads].exp().repeat_interleave(knobs.head_dim + 1, dim=0)

    def _output(self, sums: Tensor, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        heads = sums.view(*sums.shape[:2], knobs.num_heads, knobs.head_dim + 1).transpose(1, 2)
        return projections.output(heads[..., :-1] / heads[..., -1:], x.shape[-1])
