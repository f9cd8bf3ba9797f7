"""Dynamic convolution: a large static kernel looks, and what it sees makes each token's own small kernel.

"LSNet: See Large, Focus Small" (2025). No map follows; the block's FFN mixes channels.

    h = relu(x P_1) [B,T,C/2];  w = norm(relu(dw_k(h) P_2) P_3) [B,T,C/g,taps], normalised over the taps of a kernel
    y_tc = sum_d w_{t, c // g, d} x_{t+d,c} over the offsets d of a kernel of 3
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
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
    shifted,
    visited,
)

SMALL = 3
State = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """The edge of the large kernel, and how many channels share a small one."""

    kernel_size: int
    group_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Linear in the tokens; the small kernels are applied tap by tap, so that no patches are stored."""

    knobs_type = Knobs
    suggested = {"kernel_size": (7, 5), "group_size": (8, 16)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        half, kernels = site.embed_dim // 2, site.embed_dim // min(one.group_size for one in choices)
        self.narrow, self.mix = Elastic((half,), (site.embed_dim,)), Elastic((half,), (half,))
        self.taps = new_taps(half, [one.kernel_size for one in choices], site.domain)
        count = len(offsets(SMALL, site.domain))
        self.kernels = Elastic((max(1, kernels), count), (half,))
        self.gain, self.shift = nn.Parameter(torch.ones(count)), nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A grouped convolution, and a weighted sum of shifted copies."""
        site = context.site
        weights = self._weights(convolved(self._narrowed(x), self.taps, knobs.kernel_size, site), x.shape[-1], knobs)
        parts = _grouped(x, knobs.group_size)
        y = torch.zeros_like(parts)
        for tap, place in enumerate(offsets(SMALL, site.domain)):
            y = y + weights[..., tap, None] * shifted(x, place, site).view(parts.shape)
        return y.flatten(-2)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """A matrix between tokens for every kernel, zero outside its reach."""
        site = context.site
        seen = convolved_slowly(self._narrowed(x), self.taps, knobs.kernel_size, site)
        weights = self._weights(seen, x.shape[-1], knobs)
        numbered = torch.arange(1, site.tokens + 1, dtype=x.dtype).view(1, -1, 1)
        mixing = x.new_zeros(*weights.shape[:3], site.tokens)
        for tap, place in enumerate(offsets(SMALL, site.domain)):
            source = shifted(numbered, place, site).flatten().long()
            reached = F.one_hot(source, site.tokens + 1)[:, 1:].to(x.dtype)
            mixing = mixing + weights[..., tap, None] * reached[:, None]
        return torch.einsum("btgs,bsgn->btgn", mixing, _grouped(x, knobs.group_size)).flatten(-2)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token; the state is what either kernel reads of the last tokens."""
        narrowed = self._narrowed(x)
        seen = narrowed if state is None else torch.cat((state[0], narrowed), dim=1)
        inputs = x if state is None else torch.cat((state[1], x), dim=1)
        weights = self._weights(convolved_last(seen, self.taps, knobs.kernel_size), x.shape[-1], knobs)
        newest_first = _grouped(inputs[:, -SMALL:].flip(1), knobs.group_size)
        y = torch.einsum("bgt,btgn->bgn", weights[:, 0, :, : newest_first.shape[1]], newest_first)
        kept = seen[:, max(0, seen.shape[1] - knobs.kernel_size + 1) :]
        return y.flatten(1).unsqueeze(1), (kept, inputs[:, max(0, inputs.shape[1] - SMALL + 1) :])

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """The same of the last tokens."""
        last = x[:, max(0, x.shape[1] - knobs.kernel_size + 1) :]
        return self._narrowed(last), x[:, max(0, x.shape[1] - SMALL + 1) :].clone()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Flops of the maps and the large kernel; the small ones are sums of products that no counter sees."""
        width, half = site.embed_dim, site.embed_dim // 2
        small, large = (len(offsets(size, site.domain)) for size in (SMALL, knobs.kernel_size))
        maps = half * (width + half + small * width // knobs.group_size + large)
        kept = half * min(knobs.kernel_size - 1, site.tokens) + width * min(SMALL - 1, site.tokens)
        return Cost(
            params=maps + 2 * small, flops=2 * site.tokens * maps, kv_cache_bytes=4 * kept, pairs=visited(SMALL, site)
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width: every channel is mixed."""
        return site.embed_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Groups divide the channels; images need a grid."""
        if site.embed_dim % knobs.group_size or site.embed_dim < 2:
            raise ArchError(f"group_size must divide the {site.embed_dim} channels, got {knobs.group_size}: change one")
        if site.domain == "image":
            grid_of(site)

    def _narrowed(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(x, x.shape[-1] // 2)
        return out.relu()

    def _weights(self, seen: Tensor, width: int, knobs: Knobs) -> Tensor:
        """`[B, T, C/2] -> [B, T, C/g, taps]`."""
        count = self.gain.shape[0]
        kernels = self.kernels(self.mix(seen, width // 2).relu(), width // knobs.group_size, count)
        return F.layer_norm(kernels, (count,), self.gain, self.shift)


def _grouped(x: Tensor, size: int) -> Tensor:
    """`[B, T, C] -> [B, T, C / size, size]`; stretches, so that a kernel has the same channels at every width."""
    return x.reshape(*x.shape[:2], -1, size)
