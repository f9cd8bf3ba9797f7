"""Dynamic convolution whose kernels come from a token's affinity to coarse regions of the whole image.

"OverLoCK: An Overview-first-Look-Closely-next ConvNet with Context-Mixing Dynamic Kernels" (2025), with one kernel size
in place of two.

    R regions of a r x r grid, means of x;  a = q k_R^T / sqrt D [B,H,T,R]
    w = softmax over taps of a L, L [R,taps];  y of head h's C/H channels (every H-th) at t = sum_d w_{h,t,d} x_{t+d}
    out = y W
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.operators.taps import check_kernel, grid_of, offsets, shifted, visited

QK = frozenset("qk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads (groups of channels with one kernel), their width, the kernel's edge, and the edge of the regions' grid."""

    num_heads: int
    head_dim: int
    kernel_size: int
    region_edge: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Linear in the tokens; values are the channels themselves. Kernels see all tokens, so there is no causal form."""

    knobs_type = Knobs
    suggested = {"kernel_size": (5, 3), "region_edge": (7, 4)}
    domains = frozenset(("image", "sequence"))
    projections = QK

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        taps = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        self.kernels = Elastic((taps,), (max(one.region_edge for one in choices) ** 2,))
        self.o = Elastic((site.embed_dim,), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A weighted sum of shifted copies, so that no patches are stored."""
        weights = self._weights(x, projections, knobs, context.site)
        parts = x.reshape(*x.shape[:2], -1, knobs.num_heads)
        y = torch.zeros_like(parts)
        for tap, place in enumerate(offsets(knobs.kernel_size, context.site.domain)):
            y = y + weights[..., tap].unsqueeze(2) * shifted(x, place, context.site).view(parts.shape)
        return self._project(y.flatten(2))

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A matrix between tokens for every head, zero outside its reach."""
        site = context.site
        weights = self._weights(x, projections, knobs, site)
        numbered = torch.arange(1, site.tokens + 1, dtype=x.dtype).view(1, -1, 1)
        mixing = x.new_zeros(*weights.shape[:3], site.tokens)
        for tap, place in enumerate(offsets(knobs.kernel_size, site.domain)):
            source = shifted(numbered, place, site).flatten().long()
            mixing = mixing + weights[..., tap, None] * F.one_hot(source, site.tokens + 1)[:, None, 1:].to(x.dtype)
        parts = x.reshape(*x.shape[:2], -1, knobs.num_heads)
        return self._project(torch.einsum("bths,bsch->btch", mixing, parts).flatten(2))

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Pairs are the taps inside the grid; what the kernels are made of costs as many products as there are
        regions."""
        taps, regions = len(offsets(knobs.kernel_size, site.domain)), knobs.region_edge**2
        inner, width = knobs.num_heads * knobs.head_dim, site.embed_dim
        params = 2 * inner * width + regions * taps + width**2
        return Cost(
            params=params,
            flops=2 * site.tokens * (inner * width + regions * inner + knobs.num_heads * regions * taps + width**2)
            + 2 * regions * inner * width,
            kv_cache_bytes=4 * width * site.tokens,
            pairs=visited(knobs.kernel_size, site),
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width: values are not narrowed."""
        return site.embed_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Heads divide the channels; images need a grid."""
        if site.embed_dim % knobs.num_heads:
            raise ArchError(f"num_heads must divide the {site.embed_dim} channels, got {knobs.num_heads}: change one")
        if site.domain == "image":
            grid_of(site)

    def _weights(self, x: Tensor, projections: Projections, knobs: Knobs, site: Site) -> Tensor:
        """`[B, T, H, taps]`."""
        regions = regions_of(x, knobs.region_edge, site)
        q = projections.query(x, knobs.num_heads, knobs.head_dim)
        k = projections.key(regions, knobs.num_heads, knobs.head_dim)
        affinity = q @ k.transpose(-1, -2) / knobs.head_dim**0.5
        weights: Tensor = self.kernels(affinity, len(offsets(knobs.kernel_size, site.domain))).softmax(-1)
        return weights.transpose(1, 2)

    def _project(self, y: Tensor) -> Tensor:
        out: Tensor = self.o(y, y.shape[-1])
        return out


def regions_of(x: Tensor, edge: int, site: Site) -> Tensor:
    """Means over a grid of `edge` x `edge` regions, or as many pieces of a sequence, `[B, edge^2, C]`."""
    signal = x.transpose(1, 2)
    if site.domain == "image":
        grid = signal.reshape(*signal.shape[:2], *grid_of(site))
        return F.adaptive_avg_pool2d(grid, (edge, edge)).flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(signal, edge**2).transpose(1, 2)
