"""Attention inside an inverted bottleneck: tokens mix, widen, meet their neighbours and narrow again.

"Rethinking Mobile Block for Efficient Attention-based Models" (EMO, 2023), attention before the expansion. Its
normalisation inside is left out, as is the rule that such a block has no FFN of its own: offer the FFN `none` for that.

    windows: every s-th row and column, s = ceil(edge / window_size);  q, k [B,H,T,D], x_h [B,T,C/H] every H-th of x
    u = gelu([softmax(q k^T / sqrt D) x_h over heads] W_v + b) [B,T,eC];  out = (u + silu(dw_k(u))) W with W [eC,C]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections, dealt, gathered
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, EqualHeadKnobs, Operator, Site, projection_cost
from nas.operators.taps import check_kernel, convolved, convolved_slowly, grid_of, new_taps, offsets

QK = frozenset("qk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Heads, width of their keys, tokens along an axis of a window, how much wider it gets, and the kernel there."""

    window_size: int
    expansion: int
    kernel_size: int

    def __post_init__(self) -> None:
        EqualHeadKnobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """SDPA in dilated windows; scores are of the narrow input, and the wide part is two maps and one convolution."""

    knobs_type = Knobs
    suggested = {"window_size": (14, 7), "expansion": (2, 1), "kernel_size": (5, 3)}
    domains = frozenset(("image",))
    projections = QK

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        hidden = max(one.expansion for one in choices) * site.embed_dim
        self.widen, self.narrow = (
            Elastic((hidden,), (site.embed_dim,), bias=True),
            Elastic((site.embed_dim,), (hidden,)),
        )
        self.taps = new_taps(hidden, [one.kernel_size for one in choices], site.domain)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One call of the fused kernel for all windows."""
        q, k, v = self._qkv(x, projections, knobs)
        grid, steps = grid_of(context.site), _steps(context.site, knobs)
        windows = [_split(part.transpose(1, 2).flatten(2), grid, steps) for part in (q, k, v)]
        q, k, v = (part.reshape(*part.shape[:2], knobs.num_heads, -1).transpose(1, 2) for part in windows)
        mask = None
        if any(edge % step for edge, step in zip(grid, steps, strict=True)):
            real = _split(x.new_ones(1, x.shape[1], 1), grid, steps)[..., 0] > 0
            mask = real.repeat(x.shape[0], 1)[:, None, None].expand(-1, -1, q.shape[2], -1)
        y = gathered(attention.dense(q, k, v, mask=mask))
        u = self._wide(_join(y, grid, steps, x.shape[0]), knobs)
        out: Tensor = self.narrow(u + F.silu(convolved(u, self.taps, knobs.kernel_size, context.site)), x.shape[-1])
        return out

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Full attention with everything outside the token's window hidden."""
        q, k, v = self._qkv(x, projections, knobs)
        (_, width), (down, right) = grid_of(context.site), _steps(context.site, knobs)
        at = torch.arange(x.shape[1])
        rows, columns = at // width % down, at % width % right
        mask = (rows[:, None] == rows) & (columns[:, None] == columns)
        u = self._wide(gathered(attention.reference(q, k, v, mask)), knobs)
        local = convolved_slowly(u, self.taps, knobs.kernel_size, context.site)
        out: Tensor = self.narrow(u + F.silu(local), x.shape[-1])
        return out

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Whole windows, those over the edge filled up, at the larger of key and value widths."""
        hidden, taps = knobs.expansion * site.embed_dim, len(offsets(knobs.kernel_size, site.domain))
        maps = 2 * hidden * site.embed_dim + hidden * taps
        widest = max(knobs.head_dim, site.embed_dim // knobs.num_heads) * knobs.num_heads
        axes = list(zip(grid_of(site), _steps(site, knobs), strict=True))
        inside = math.prod(step * (-(-edge // step)) ** 2 for edge, step in axes)
        inner = Cost(
            params=maps + hidden,
            flops=2 * site.tokens * maps + 4 * inside * widest,
            kv_cache_bytes=4 * (knobs.num_heads * knobs.head_dim + site.embed_dim) * site.tokens,
            pairs=math.prod(_pairs(edge, step) for edge, step in axes),
        )
        return projection_cost(knobs.heads, site, QK) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of keys, or of values if that is less."""
        return min(knobs.head_dim, site.embed_dim // knobs.num_heads)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Heads divide the channels; images need a grid."""
        if site.embed_dim % knobs.num_heads:
            raise ArchError(f"num_heads must divide the {site.embed_dim} channels, got {knobs.num_heads}: change one")
        grid_of(site)

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        size = knobs.num_heads, knobs.head_dim
        return projections.query(x, *size), projections.key(x, *size), dealt(x, knobs.num_heads)

    def _wide(self, y: Tensor, knobs: Knobs) -> Tensor:
        return F.gelu(self.widen(y, knobs.expansion * y.shape[-1]))


def _steps(site: Site, knobs: Knobs) -> tuple[int, int]:
    """Rows and columns from one token of a window to the next."""
    height, width = (-(-edge // knobs.window_size) for edge in grid_of(site))
    return height, width


def _split(x: Tensor, grid: tuple[int, int], steps: tuple[int, int]) -> Tensor:
    """`[B, T, D]` to `[B * windows, tokens of a window, D]`, zeros beyond the edges."""
    (height, width), (down, right) = grid, steps
    image = F.pad(x.reshape(x.shape[0], height, width, -1), (0, 0, 0, -width % right, 0, -height % down))
    batch, rows, columns, channels = image.shape
    image = image.reshape(batch, rows // down, down, columns // right, right, channels)
    return image.permute(0, 2, 4, 1, 3, 5).reshape(batch * down * right, -1, channels)


def _join(windows: Tensor, grid: tuple[int, int], steps: tuple[int, int], batch: int) -> Tensor:
    """Back to `[B, T, D]`."""
    rows, columns = (-(-edge // step) for edge, step in zip(grid, steps, strict=True))
    image = windows.reshape(batch, *steps, rows, columns, -1).permute(0, 3, 1, 4, 2, 5)
    image = image.reshape(batch, rows * steps[0], columns * steps[1], -1)
    return image[:, : grid[0], : grid[1]].flatten(1, 2)


def _pairs(edge: int, step: int) -> int:
    """Pairs along one axis that share a window."""
    return sum(len(range(first, edge, step)) ** 2 for first in range(step))
