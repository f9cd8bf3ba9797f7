"""Hidden-state mixer: tokens are pooled into a few states, channels mix there, and tokens read the states back.

"EfficientViM: Efficient Vision Mamba with Hidden State Mixer based State Space Duality" (2025), with expansion 1.

    [Bm, Cm, dt] = dwconv3x3(x W_in) [B,3,n,T];  A = softmax over tokens of dt
    h = (A * Bm) x [B,n,C];  [u, z] = h W_hz;  h' = (u * silu(z) + D u) W_out;  y = Cm^T h' [B,T,C]

The paper adds a learned constant per state to dt, which the softmax over tokens cancels, so it is left out.
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

KERNEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """The number of states that the tokens go through."""

    num_states: int


class Mixer(Operator[Knobs]):
    """Linear in the tokens, and the channel mixing costs states instead of tokens; owns all its maps."""

    knobs_type = Knobs
    suggested = {"num_states": (64, 32, 16)}
    domains = frozenset(("image",))
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width, states = site.embed_dim, max(knobs.num_states for knobs in choices)
        self.into = Elastic((3, states), (width,))
        self.local = nn.Parameter(torch.randn(3, states, KERNEL, KERNEL) / KERNEL)
        self.hidden = Elastic((2, width), (width,))
        self.out = Elastic((width,), (width,))
        self.skip = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Two products with the tokens."""
        pool, read = self._coefficients(x, knobs, context.site)
        return read.transpose(-1, -2) @ self._mix_states(pool @ x)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """State by state, each token's share written out."""
        pool, read = self._coefficients(x, knobs, context.site)
        y = torch.zeros_like(x)
        for state in range(knobs.num_states):
            pooled = (pool[:, state, :, None] * x).sum(1)
            y = y + read[:, state, :, None] * self._mix_states(pooled).unsqueeze(1)
        return y

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every token reaches every other one through the states, which are what has to be kept."""
        states, width, tokens = knobs.num_states, site.embed_dim, site.tokens
        into, local, mix = 3 * states * width, 3 * states * KERNEL**2, 3 * width**2
        return Cost(
            params=into + local + mix + 1,
            flops=2 * (tokens * (into + local) + states * mix + 2 * tokens * states * width),
            kv_cache_bytes=4 * states * width,
            pairs=site.allowed_pairs,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The number of states."""
        return knobs.num_states

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """The convolution needs a grid, and states beyond the tokens add nothing."""
        _grid(site)
        if knobs.num_states > site.tokens:
            raise ArchError(f"num_states must be at most the {site.tokens} tokens, got {knobs.num_states}: lower it")

    def _coefficients(self, x: Tensor, knobs: Knobs, site: Site) -> tuple[Tensor, Tensor]:
        """How tokens enter the states and how they read them, both `[B, n, T]`."""
        states = knobs.num_states
        maps = self.into(x, 3, states).flatten(2).transpose(1, 2).unflatten(2, _grid(site))
        kernels = self.local[:, :states].reshape(3 * states, 1, KERNEL, KERNEL)
        maps = F.conv2d(maps, kernels, padding=KERNEL // 2, groups=3 * states).flatten(2)
        weight, read, dt = maps.chunk(3, dim=1)
        return dt.softmax(-1) * weight, read

    def _mix_states(self, states: Tensor) -> Tensor:
        """`[..., C] -> [..., C]`, gated."""
        width = states.shape[-1]
        u, z = self.hidden(states, 2, width).unbind(-2)
        mixed: Tensor = self.out(u * F.silu(z) + self.skip * u, width)
        return mixed


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None or math.prod(site.grid) != site.tokens:
        raise ArchError(f"a state mixer needs a grid of {site.tokens} tokens, got {site.grid}: use it on images")
    return site.grid
