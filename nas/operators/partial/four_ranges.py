"""Four quarters of the channels, each mixed over another range: a token, its neighbours, strips, the whole image.

"LWGANet: A Lightweight Group Attention Backbone for Remote Sensing Visual Tasks" (2025); its large-kernel form of the
widest range is left out, and pooling by maxima stands for its blurred one. A quarter is every fourth channel, so that
every width parts them alike.

    y1 = x1 + x1 sigmoid(gelu(x1 W_1) W_2);  y2 = gelu(3 x 3 convolution of x2)
    y3 = x3 sigmoid(strips of maxima over 3 x 3), depthwise: down, across and along both diagonals, kernel_size x 3 each
    y4 = attention(x4), or x4 + unpool(attention(maxima over 2 x 2)) with every value back at its maximum's place
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, dealt, gathered
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.operators.taps import check_kernel, grid_of, offsets

POOL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads of the last quarter, by how much its grid is pooled, and the length of the strips."""

    num_heads: int
    pooled: int
    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Owns its narrow maps; the four strips are one kernel."""

    knobs_type = Knobs
    suggested = {"pooled": (1, 2), "kernel_size": (11, 5)}
    domains = frozenset(("image",))
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        part = site.embed_dim // 4
        self.point_up, self.point_down = Elastic((4 * part,), (part,)), Elastic((part,), (4 * part,))
        self.near = nn.Parameter(torch.randn(part, part, 3, 3) / math.sqrt(9 * part))
        length = max(one.kernel_size for one in choices)
        # along a strip from the centre outwards, then the three across it
        self.strips = nn.Parameter(torch.randn(part, length, 4, 3) / math.sqrt(12 * length))
        self.q, self.k, self.v, self.o = (Elastic((part,), (part,)) for _ in range(4))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on the last quarter, convolutions on the two in the middle."""
        one, two, three, four = self._quarters(x, context.site)
        near = F.gelu(F.conv2d(two, self._near(two), padding=1))
        coarse = F.max_pool2d(three, POOL, ceil_mode=True)
        kernel, edge = self._kernel(three.shape[1], knobs), knobs.kernel_size + 2
        gate = F.conv2d(coarse, kernel.unsqueeze(1), padding=edge // 2, groups=three.shape[1]).sigmoid()
        medium = three * _enlarged(gate, grid_of(context.site))
        return self._joined(x, one, near, medium, self._wide(four, knobs))

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Sums over shifted copies, strip by strip; explicit softmax."""
        one, two, three, four = self._quarters(x, context.site)
        (height, width), padded, weight = grid_of(context.site), F.pad(two, (1, 1, 1, 1)), self._near(two)
        shifts = [(i, j, padded[:, :, i : i + height, j : j + width]) for i in range(3) for j in range(3)]
        near = torch.stack([torch.einsum("oc,bchw->bohw", weight[:, :, i, j], part) for i, j, part in shifts]).sum(0)
        coarse, reach = F.max_pool2d(three, POOL, ceil_mode=True), knobs.kernel_size // 2 + 1
        wide, total = F.pad(coarse, (reach,) * 4), torch.zeros_like(coarse)
        for tap, (along,) in enumerate(offsets(knobs.kernel_size, "sequence")):
            for which in range(4):
                for across in range(3):
                    i, j = _place(which, along, across - 1)
                    part = wide[:, :, reach + i :, reach + j :][:, :, : coarse.shape[2], : coarse.shape[3]]
                    total = total + self.strips[: three.shape[1], tap, which, across, None, None] * part
        medium = three * _enlarged(total.sigmoid(), (height, width))
        return self._joined(x, one, F.gelu(near), medium, self._wide(four, knobs, is_slow=True))

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Each quarter at its own resolution; the strips as the kernel that holds them."""
        part, grid = site.embed_dim // 4, grid_of(site)
        coarse, few = (math.prod(-(-edge // by) for edge in grid) for by in (POOL, knobs.pooled))
        each = 8 * part**2 + 9 * part**2
        return Cost(
            params=each + 12 * knobs.kernel_size * part + 4 * part**2,
            flops=2 * site.tokens * each
            + 2 * coarse * part * (knobs.kernel_size + 2) ** 2
            + 2 * few * 4 * part**2
            + 4 * part * few**2,
            kv_cache_bytes=8 * part * few,
            pairs=few**2,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return site.embed_dim // 4 // knobs.num_heads

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Channels divide into quarters and those among the heads; images need a grid."""
        if site.embed_dim % (4 * knobs.num_heads):
            raise ArchError(
                f"embed_dim must be a multiple of 4 num_heads, got {site.embed_dim} and {knobs.num_heads}: change one"
            )
        grid_of(site)

    def _quarters(self, x: Tensor, site: Site) -> tuple[Tensor, ...]:
        """The first as tokens, the others as maps `[B, C / 4, H, W]`."""
        first, *others = dealt(x, 4).unbind(1)
        maps = (part.transpose(1, 2).reshape(part.shape[0], part.shape[2], *grid_of(site)) for part in others)
        point = self.point_down(F.gelu(self.point_up(first, 4 * first.shape[-1])), first.shape[-1])
        return first + first * point.sigmoid(), *maps

    def _near(self, two: Tensor) -> Tensor:
        return self.near[: two.shape[1], : two.shape[1]]

    def _kernel(self, width: int, knobs: Knobs) -> Tensor:
        """The sum of the four strips, `[C / 4, kernel_size + 2, kernel_size + 2]`."""
        edge, reach = knobs.kernel_size + 2, knobs.kernel_size // 2 + 1
        places = [
            (reach + i) * edge + reach + j
            for (along,) in offsets(knobs.kernel_size, "sequence")
            for which in range(4)
            for i, j in (_place(which, along, across) for across in (-1, 0, 1))
        ]
        taps = self.strips[:width, : knobs.kernel_size].flatten(1)
        index = torch.tensor(places, device=taps.device).expand(width, -1)
        return taps.new_zeros(width, edge**2).scatter_add(1, index, taps).view(width, edge, edge)

    def _wide(self, four: Tensor, knobs: Knobs, *, is_slow: bool = False) -> Tensor:
        """Attention of the last quarter, as tokens `[B, T, C / 4]`."""
        tokens = four.flatten(2).transpose(1, 2)
        if knobs.pooled == 1:
            return self._attend(tokens, knobs, is_slow)
        few, at = F.max_pool2d(four, knobs.pooled, ceil_mode=True, return_indices=True)
        mixed = self._attend(few.flatten(2).transpose(1, 2), knobs, is_slow)
        return tokens + torch.zeros_like(tokens).scatter(1, at.flatten(2).transpose(1, 2), mixed)

    def _attend(self, x: Tensor, knobs: Knobs, is_slow: bool) -> Tensor:
        width = x.shape[-1]
        heads = (dealt(m(x, width), knobs.num_heads) for m in (self.q, self.k, self.v))
        y = (attention.reference if is_slow else attention.dense)(*heads)
        out: Tensor = self.o(gathered(y), width)
        return out

    def _joined(self, x: Tensor, one: Tensor, two: Tensor, three: Tensor, four: Tensor) -> Tensor:
        middle = [part.flatten(2).transpose(1, 2) for part in (two, three)]
        return gathered(torch.stack((one, *middle, four), dim=1))


def _place(which: int, along: int, across: int) -> tuple[int, int]:
    """Row and column of a tap: strips down, across the image, and along its two diagonals, sheared row by row."""
    return ((along, across), (across, along), (along, along + across), (along, across - along))[which]


def _enlarged(coarse: Tensor, grid: tuple[int, int]) -> Tensor:
    """Every value at all places that it was pooled from."""
    wide = coarse.repeat_interleave(POOL, dim=2).repeat_interleave(POOL, dim=3)
    return wide[:, :, : grid[0], : grid[1]]
