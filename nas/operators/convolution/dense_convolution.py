"""Plain convolution: every channel of every token in reach, one matrix per tap.

"Lets keep it simple, Using simple architectures to outperform deeper and more complex architectures" (2016).

    y_t = sum_d W_d x_{t+d}, W_d [C,C], with the offsets of a depthwise convolution of the same kernel
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.operators.taps import check_kernel, grid_of, offsets, shifted, visited


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """The edge of the kernel in tokens."""

    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """As many products per token as the kernel has taps: dear in parameters, one dense kernel in time."""

    knobs_type = Knobs
    suggested = {"kernel_size": (3, 1)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        taps = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        width = site.embed_dim
        self.taps = nn.Parameter(torch.randn(width, width, taps) / math.sqrt(width * taps))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One convolution."""
        size, site, signal = knobs.kernel_size, context.site, x.transpose(1, 2)
        kernel = self._kernel(knobs, x.shape[-1], site)
        if site.domain == "image":
            grid = signal.reshape(*signal.shape[:2], *grid_of(site))
            return (
                F.conv2d(grid, kernel.view(*kernel.shape[:2], size, size), padding=size // 2).flatten(2).transpose(1, 2)
            )
        edges = (size - 1, 0) if site.is_causal else (size // 2, size // 2)
        return F.conv1d(F.pad(signal, edges), kernel).transpose(1, 2)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A product of shifted tokens per tap."""
        width, y = x.shape[-1], torch.zeros_like(x)
        for tap, place in enumerate(offsets(knobs.kernel_size, context.site.domain)):
            y = y + shifted(x, place, context.site) @ self.taps[:width, :width, tap].T
        return y

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is the last kernel_size - 1 inputs."""
        seen = x if state is None else torch.cat((state, x), dim=1)
        width, newest_first = x.shape[-1], seen[:, -knobs.kernel_size :].flip(1)
        weight = self.taps[:width, :width, : newest_first.shape[1]].transpose(1, 2).flatten(1)
        y = F.linear(newest_first.flatten(1), weight).unsqueeze(1)
        return y, seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The last kernel_size - 1 inputs."""
        return x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :].clone()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Pairs are the taps that fall inside the grid, flops those of all taps."""
        params = site.embed_dim**2 * len(offsets(knobs.kernel_size, site.domain))
        return Cost(
            params=params,
            flops=2 * site.tokens * params,
            kv_cache_bytes=4 * site.embed_dim * min(knobs.kernel_size - 1, site.tokens),
            pairs=visited(knobs.kernel_size, site),
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width: all channels of a token reach its neighbours."""
        return site.embed_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        if site.domain == "image":
            grid_of(site)

    def _kernel(self, knobs: Knobs, width: int, site: Site) -> Tensor:
        places = offsets(knobs.kernel_size, site.domain)
        order = sorted(range(len(places)), key=places.__getitem__)
        return self.taps[:width, :width, order]
