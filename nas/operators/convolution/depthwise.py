"""Depthwise convolution and a map of the channels: the cheapest local mixing.

"Xception: Deep Learning with Depthwise Separable Convolutions" (2016).

    y_tc = sum_d w_c(d) x_{t+d,c} with k x k offsets d on an image, k centred ones in a sequence, the k latest if causal
    out = y W with W [C,C]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.operators.taps import (
    check_kernel,
    convolved,
    convolved_last,
    convolved_slowly,
    grid_of,
    new_taps,
    offsets,
    visited,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """The edge of the kernel in tokens."""

    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Depthwise separable convolution; owns all its weights."""

    knobs_type = Knobs
    suggested = {"kernel_size": (7, 5, 3)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.taps = new_taps(site.embed_dim, [knobs.kernel_size for knobs in choices], site.domain)
        self.pointwise = Elastic((site.embed_dim,), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One grouped convolution and one product."""
        return self._project(convolved(x, self.taps, knobs.kernel_size, context.site))

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The sum over shifted copies, one per tap."""
        return self._project(convolved_slowly(x, self.taps, knobs.kernel_size, context.site))

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is the last kernel_size - 1 inputs."""
        seen = x if state is None else torch.cat((state, x), dim=1)
        y = self._project(convolved_last(seen, self.taps, knobs.kernel_size))
        return y, seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The last kernel_size - 1 inputs."""
        # a copy, since a view would keep the inputs of all tokens alive
        return x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :].clone()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Pairs are the taps that fall inside the grid, flops those of all taps."""
        taps, width = len(offsets(knobs.kernel_size, site.domain)), site.embed_dim
        return Cost(
            params=width * (taps + width),
            flops=2 * site.tokens * width * (taps + width),
            kv_cache_bytes=4 * width * min(knobs.kernel_size - 1, site.tokens),
            pairs=visited(knobs.kernel_size, site),
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width: every channel has its own token mixing."""
        return site.embed_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        if site.domain == "image":
            grid_of(site)

    def _project(self, y: Tensor) -> Tensor:
        out: Tensor = self.pointwise(y, y.shape[-1])
        return out
