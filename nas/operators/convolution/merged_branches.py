"""Convolution whose training form has parallel branches that are one kernel and one matrix when it runs.

"RepViT: Revisiting Mobile CNN From ViT Perspective" (2024) and the RepMix of "FaceLiVT" (2025) for the depthwise part;
group branches of the map as in "FMViT: A multiple-frequency mixing Vision Transformer" (2023). Without batch norms the
sum is exact at every step, so that there is nothing to do at extraction.

    y = (dw_k + dw_1 + 1) x;  out = (W + blockdiag(W_1 .. W_g)) y, W [C,C], W_i [C/g,C/g] of every g-th channel
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, dealt, gathered
from nas.errors import ArchError
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
    """The edge of the kernel, and the groups of the map's second branch (1: none)."""

    kernel_size: int
    groups: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Branches are summed before they meet an input, which costs as much as one kernel and one matrix."""

    knobs_type = Knobs
    suggested = {"kernel_size": (5, 3), "groups": (1, 2, 4)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width, grouped = site.embed_dim, [one.groups for one in choices if one.groups > 1]
        self.taps = new_taps(width, [one.kernel_size for one in choices], site.domain)
        self.point = nn.Parameter(torch.zeros(width))
        self.pointwise = Elastic((width,), (width,))
        part = width // min(grouped, default=1)
        blocks = torch.randn(max(grouped, default=1), part, part) / math.sqrt(part)
        self.blocks = nn.Parameter(blocks) if grouped else None

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One grouped convolution and one product."""
        width = x.shape[-1]
        y = convolved(x, self._merged_taps(width), knobs.kernel_size, context.site)
        return y @ self._merged_map(knobs, width).T

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Every branch by itself."""
        width = x.shape[-1]
        y = convolved_slowly(x, self.taps, knobs.kernel_size, context.site) + self.point[:width] * x + x
        out: Tensor = self.pointwise(y, width)
        if knobs.groups > 1 and self.blocks is not None:
            part = width // knobs.groups
            blocks = self.blocks[: knobs.groups, :part, :part]
            out = out + gathered(dealt(y, knobs.groups) @ blocks.transpose(1, 2))
        return out

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is the last kernel_size - 1 inputs."""
        seen, width = x if state is None else torch.cat((state, x), dim=1), x.shape[-1]
        y = convolved_last(seen, self._merged_taps(width), knobs.kernel_size)
        kept = seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]
        return y @ self._merged_map(knobs, width).T, kept

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The last kernel_size - 1 inputs."""
        return x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :].clone()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Parameters of all branches, flops of what they are merged into."""
        taps, width = len(offsets(knobs.kernel_size, site.domain)), site.embed_dim
        blocks = width**2 // knobs.groups if knobs.groups > 1 else 0
        return Cost(
            params=width * (taps + 1 + width) + blocks,
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
        """Groups divide the channels; images need a grid."""
        if site.embed_dim % knobs.groups:
            raise ArchError(f"groups must divide the {site.embed_dim} channels, got {knobs.groups}: change one")
        if site.domain == "image":
            grid_of(site)

    def _merged_taps(self, width: int) -> Tensor:
        centre = self.taps[:width, :1] + self.point[:width, None] + 1
        return torch.cat((centre, self.taps[:width, 1:]), dim=1)

    def _merged_map(self, knobs: Knobs, width: int) -> Tensor:
        whole = self.pointwise.weight[:width, :width]
        if knobs.groups == 1 or self.blocks is None:
            return whole
        part = width // knobs.groups
        blocks = self.blocks[: knobs.groups, :part, :part].permute(1, 2, 0).diag_embed()
        return whole + blocks.transpose(1, 2).reshape(width, width)
