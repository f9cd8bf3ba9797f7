"""Depthwise convolution and a map of the channels: the cheapest local mixing.

"Xception: Deep Learning with Depthwise Separable Convolutions" (2016).

    y_tc = sum_d w_c(d) x_{t+d,c} with k x k offsets d on an image, k centred ones in a sequence, the k latest if causal
    out = y W with W [C,C]

Taps are stored from the centre outwards (from the newest to the oldest if causal), so that a smaller kernel is the core
of the larger one and its weights are their leading part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.shapes import Domain

Offset = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """The edge of the kernel in tokens."""

    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        if self.kernel_size % 2 == 0:
            raise ArchError(f"kernel_size must be odd, got {self.kernel_size}: take one more or less")


def offsets(kernel_size: int, domain: Domain) -> list[Offset]:
    """The kernel's offsets in the order in which taps are stored; those of a smaller kernel come first."""
    if domain == "causal":
        return [(-age,) for age in range(kernel_size)]
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    places: list[Offset] = [(i, j) for i in reach for j in reach] if domain == "image" else [(i,) for i in reach]
    return sorted(places, key=lambda place: (max(map(abs, place)), place))


class Mixer(Operator[Knobs]):
    """Depthwise separable convolution; owns all its weights."""

    knobs_type = Knobs
    suggested = {"kernel_size": (7, 5, 3)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        taps = max(len(offsets(knobs.kernel_size, site.domain)) for knobs in choices)
        self.taps = nn.Parameter(torch.randn(site.embed_dim, taps) / math.sqrt(taps))
        self.pointwise = Elastic((site.embed_dim,), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One grouped convolution and one product."""
        size, width, site = knobs.kernel_size, x.shape[-1], context.site
        kernel = self._kernel(knobs, width, site.domain)
        signal = x.transpose(1, 2)
        if site.domain == "image":
            grid = signal.view(*signal.shape[:2], *_grid(site))
            y = F.conv2d(grid, kernel.view(width, 1, size, size), padding=size // 2, groups=width).flatten(2)
        else:
            before, after = (size - 1, 0) if site.is_causal else (size // 2, size // 2)
            y = F.conv1d(F.pad(signal, (before, after)), kernel.view(width, 1, size), groups=width)
        return self._project(y.transpose(1, 2))

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The sum over shifted copies, one per tap."""
        shape = _grid(context.site) if context.site.domain == "image" else x.shape[1:2]
        signal = x.reshape(x.shape[0], *shape, x.shape[-1])
        padded = F.pad(signal, (0, 0) + 2 * len(shape) * (knobs.kernel_size,))
        y = torch.zeros_like(signal)
        for tap, place in enumerate(offsets(knobs.kernel_size, context.site.domain)):
            y = y + self.taps[: x.shape[-1], tap] * _shifted(padded, shape, place, knobs.kernel_size)
        return self._project(y.flatten(1, -2))

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is the last kernel_size - 1 inputs."""
        seen = x if state is None else torch.cat((state, x), dim=1)
        newest_first = seen[:, -knobs.kernel_size :].flip(1)
        taps = self.taps[: x.shape[-1], : newest_first.shape[1]]
        y = (newest_first * taps.T).sum(1, keepdim=True)
        return self._project(y), seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]

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
            pairs=_visited(knobs.kernel_size, site),
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width: every channel has its own token mixing."""
        return site.embed_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        if site.domain == "image":
            _grid(site)

    def _kernel(self, knobs: Knobs, width: int, domain: Domain) -> Tensor:
        """Taps `[C, k]` or `[C, k * k]` in the order of the grid."""
        places = offsets(knobs.kernel_size, domain)
        order = sorted(range(len(places)), key=places.__getitem__)
        return self.taps[:width, order]

    def _project(self, y: Tensor) -> Tensor:
        out: Tensor = self.pointwise(y, y.shape[-1])
        return out


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None or math.prod(site.grid) != site.tokens:
        raise ArchError(f"a convolution on images needs a grid of {site.tokens} tokens, got {site.grid}")
    return site.grid


def _shifted(padded: Tensor, shape: Sequence[int], place: Offset, margin: int) -> Tensor:
    """`[B, *shape, C]` whose entry t is the entry t + place of the grid inside the margin."""
    for axis, (edge, offset) in enumerate(zip(shape, place, strict=True), start=1):
        padded = padded.narrow(axis, margin + offset, edge)
    return padded


def _visited(kernel_size: int, site: Site) -> int:
    edges = _grid(site) if site.domain == "image" else (site.tokens,)
    if site.is_causal:
        return sum(min(kernel_size, t + 1) for t in range(site.tokens))
    half = kernel_size // 2
    return math.prod(sum(min(t, half) + min(edge - 1 - t, half) + 1 for t in range(edge)) for edge in edges)
