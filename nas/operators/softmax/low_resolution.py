"""Attention at a lower resolution: a strided depthwise convolution before it, a transposed one as its output map.

"LowFormer: Hardware Efficient Design for Convolutional Transformer Backbones" (2024), whose heads hold half of the
channels: choose `num_heads` and `head_dim` so. The one dense kernel at the end has more products than a map of the
channels and a resize, and is faster than both where dense convolutions are.

    z = dw(x) at every s-th row and column [B,S,C], S = T / s^2;  y = softmax(q k^T / sqrt D) v of z
    out = transposed convolution of y, H D -> C channels, back to T tokens
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, of_heads, projection_cost, qkv
from nas.operators.taps import grid_of

QKV = frozenset("qkv")
Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and how many rows and columns become one."""

    stride: int

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.stride > 4:
            raise ArchError(f"stride must be at most 4, got {self.stride}: take less")


class Mixer(Operator[Knobs]):
    """Every stride has kernels of its own: 2s + 1 taps down, 2s up; 3 and 3 at stride 1."""

    knobs_type = Knobs
    suggested = {"stride": (1, 2)}
    domains = frozenset(("image",))
    projections = QKV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for stride in sorted({one.stride for one in choices}):
            low, high = _kernels(stride)
            self.down[str(stride)] = nn.Parameter(torch.randn(site.embed_dim, 1, low, low) / low)
            up = torch.randn(heads, width, site.embed_dim, high, high)
            self.up[str(stride)] = nn.Parameter(up * stride / math.sqrt(heads * width * high**2))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Two convolutions around SDPA."""
        grid, stride = grid_of(context.site), knobs.stride
        low, high = _kernels(stride)
        image = x.transpose(1, 2).reshape(x.shape[0], -1, *grid)
        z = F.conv2d(image, self._down(x.shape[-1], stride), stride=stride, padding=low // 2, groups=x.shape[-1])
        y = attention.dense(*qkv(z.flatten(2).transpose(1, 2), projections, knobs))
        coarse = y.transpose(2, 3).reshape(x.shape[0], -1, *z.shape[2:])
        fine = F.conv_transpose2d(coarse, self._up(x.shape[-1], knobs), stride=stride, padding=(high - stride) // 2)
        return fine[:, :, : grid[0], : grid[1]].flatten(2).transpose(1, 2)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Convolutions as sums over their taps, explicit softmax."""
        grid, stride = grid_of(context.site), knobs.stride
        coarse_grid = coarse(grid, stride)
        z = self._downwards(x.view(x.shape[0], *grid, -1), coarse_grid, stride)
        y = attention.reference(*qkv(z.flatten(1, 2), projections, knobs))
        merged = y.transpose(1, 2).flatten(2).view(x.shape[0], *coarse_grid, -1)
        return self._upwards(merged, grid, self._up(x.shape[-1], knobs), stride).flatten(1, 2)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Attention on the coarse grid, both convolutions in full."""
        height, width = coarse(grid_of(site), knobs.stride)
        tokens, inner = height * width, knobs.num_heads * knobs.head_dim
        low, high = _kernels(knobs.stride)
        convolutions = site.embed_dim * (low**2 + inner * high**2)
        own = Cost(
            params=convolutions,
            flops=2 * tokens * convolutions + 4 * inner * tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, replace(site, tokens=tokens), QKV) + own

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, or the coarse tokens if those are fewer."""
        return min(knobs.head_dim, math.prod(coarse(grid_of(site), knobs.stride)))

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        grid_of(site)

    def _down(self, width: int, stride: int) -> Tensor:
        weight: Tensor = self.down[str(stride)]
        return weight[:width]

    def _up(self, width: int, knobs: Knobs) -> Tensor:
        weight: Tensor = self.up[str(knobs.stride)]
        return of_heads(weight, knobs)[:, : knobs.head_dim, :width].flatten(0, 1)

    def _downwards(self, image: Tensor, to: Grid, stride: int) -> Tensor:
        """`[B, h, w, C]` at every s-th row and column."""
        size = _kernels(stride)[0]
        padded = F.pad(image, (0, 0, size // 2, size, size // 2, size))
        z = image.new_zeros(image.shape[0], *to, image.shape[-1])
        for i in range(size):
            for j in range(size):
                seen = padded[:, i::stride, j::stride][:, : to[0], : to[1]]
                z = z + seen * self._down(image.shape[-1], stride)[:, 0, i, j]
        return z

    @staticmethod
    def _upwards(y: Tensor, grid: Grid, weight: Tensor, stride: int) -> Tensor:
        """`[B, h, w, HD]` to the fine grid: every coarse token adds a patch."""
        size = weight.shape[-1]
        edge = (size - stride) // 2
        canvas = y.new_zeros(y.shape[0], y.shape[1] * stride + size, y.shape[2] * stride + size, weight.shape[1])
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                patch = torch.einsum("bd,dcij->bijc", y[:, i, j], weight)
                at = F.pad(
                    patch,
                    (0, 0, j * stride, canvas.shape[2] - size - j * stride)
                    + (i * stride, canvas.shape[1] - size - i * stride),
                )
                canvas = canvas + at
        return canvas[:, edge : edge + grid[0], edge : edge + grid[1]]


def coarse(grid: Grid, stride: int) -> Grid:
    """Rows and columns that are left."""
    return -(-grid[0] // stride), -(-grid[1] // stride)


def _kernels(stride: int) -> tuple[int, int]:
    return (3, 3) if stride == 1 else (2 * stride + 1, 2 * stride)
