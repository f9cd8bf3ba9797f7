"""Attention among rows or among columns: tokens are averaged along one axis of the grid before softmax attention.

"L-SFAN: Lightweight Spatially-focused Attention Network for Pain Behavior Detection" (2024), whose grid has time and
sensors as axes. Every token gets the output of its line, so the block's residual branch is what tells them apart.

    z = mean of x [B,H,W,C] along an axis [B,S,C];  y = MHA(z) [B,S,C];  out = y repeated along that axis [B,T,C]
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

Lines = Literal["rows", "columns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and the lines of the grid that become the tokens of attention."""

    lines: Lines

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.lines not in get_args(Lines):
            raise ArchError(f"lines must be one of {', '.join(get_args(Lines))}; got {self.lines!r}: change it")


class Mixer(Operator[Knobs]):
    """S tokens instead of T in the projections, too, so it is about T / S times cheaper than full attention."""

    knobs_type = Knobs
    suggested = {"lines": get_args(Lines)}
    domains = frozenset(("image",))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on the means of the lines."""
        height, width = _grid(context.site)
        axis = 2 if knobs.lines == "rows" else 1
        means = x.reshape(x.shape[0], height, width, -1).mean(axis)
        y = projections.output(attention.dense(*qkv(means, projections, knobs)), x.shape[-1], knobs.num_kv_heads)
        return y.unsqueeze(axis).expand(-1, height, width, -1).reshape(x.shape)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Full attention of all tokens, each the mean of its line: repeated keys do not change a softmax."""
        height, width = _grid(context.site)
        line = [t // width if knobs.lines == "rows" else t % width for t in range(height * width)]
        same = x.new_tensor([[float(a == b) for b in line] for a in line])
        means = (same / same.sum(1, keepdim=True)) @ x
        return projections.output(attention.reference(*qkv(means, projections, knobs)), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """That of full attention on the lines, through which every token reaches every other one."""
        lines = _count(knobs, site)
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * lines**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * lines,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, replace(site, tokens=lines)) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The number of lines, or the head width if that is less."""
        return min(_count(knobs, site), knobs.head_dim)


def _count(knobs: Knobs, site: Site) -> int:
    height, width = _grid(site)
    return height if knobs.lines == "rows" else width


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None:
        raise ArchError(f"axis_pooling needs a grid of {site.tokens} tokens, got None: use it on images")
    return site.grid
