"""All queries attend to a coarse version of the tokens: one summary for each square of the grid.

The global part of "Twins: Revisiting the Design of Spatial Attention in Vision Transformers" (2021), after "Pyramid
Vision Transformer" (2021); its local part is `strided_neighborhood` with a stride as long as its window.

    z = norm(convolution of x, kernel = stride = r) [B,S,C], S = T / r^2;  k, v from z
    y = softmax(q k^T / sqrt D) v;  out = y W_o
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import ElasticNorm, Projections
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost
from nas.operators.taps import grid_of

QO, KEYS = frozenset("qo"), frozenset("kv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and how many rows and columns become one."""

    reduction: int


class Mixer(Operator[Knobs]):
    """Scores fall by the square of the reduction. Every reduction has a convolution, which begins as the mean."""

    knobs_type = Knobs
    suggested = {"reduction": (2, 4)}
    domains = frozenset(("image",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.summary = nn.ParameterDict()
        for size in sorted({one.reduction for one in choices}):
            mean = torch.eye(site.embed_dim)[..., None, None].expand(-1, -1, size, size) / size**2
            self.summary[str(size)] = nn.Parameter(mean.clone())
        self.norm = ElasticNorm(site.embed_dim)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on fewer keys."""
        size, grid = knobs.reduction, grid_of(context.site)
        image = F.pad(x.transpose(1, 2).reshape(x.shape[0], -1, *grid), _padding(grid, size))
        z = F.conv2d(image, self._weight(x.shape[-1], size), stride=size).flatten(2).transpose(1, 2)
        return self._attend(x, z, projections, knobs, attention.dense)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Summaries as sums over places of a square, explicit softmax."""
        size, grid = knobs.reduction, grid_of(context.site)
        left, right, top, bottom = _padding(grid, size)
        image = F.pad(x.view(x.shape[0], *grid, -1), (0, 0, left, right, top, bottom))
        weight, parts = self._weight(x.shape[-1], size), []
        for i in range(size):
            for j in range(size):
                parts.append(image[:, i::size, j::size] @ weight[:, :, i, j].T)
        return self._attend(x, torch.stack(parts).sum(0).flatten(1, 2), projections, knobs, attention.reference)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Keys and values of the summaries alone; every token reaches every other through them."""
        grid, size = grid_of(site), knobs.reduction
        keys = math.prod(-(-edge // size) for edge in grid)
        summary = size**2 * site.embed_dim**2
        coarse = replace(site, tokens=keys)
        inner = Cost(
            params=summary + 2 * site.embed_dim,
            flops=2 * keys * summary + 4 * knobs.num_heads * knobs.head_dim * site.tokens * keys,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * keys,
            pairs=site.tokens * keys,
        )
        return projection_cost(knobs, site, QO) + projection_cost(knobs, coarse, KEYS) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, or the summaries if those are fewer."""
        return min(knobs.head_dim, math.prod(-(-edge // knobs.reduction) for edge in grid_of(site)))

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        grid_of(site)

    def _weight(self, width: int, size: int) -> Tensor:
        weight: Tensor = self.summary[str(size)]
        return weight[:width, :width]

    def _attend(
        self, x: Tensor, z: Tensor, projections: Projections, knobs: Knobs, attend: Callable[..., Tensor]
    ) -> Tensor:
        normed, size = self.norm(z), (knobs.num_kv_heads, knobs.head_dim)
        q = projections.query(x, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads)
        y = attend(q, projections.key(normed, *size), projections.value(normed, *size))
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)


def _padding(grid: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    return 0, -grid[1] % size, 0, -grid[0] % size
