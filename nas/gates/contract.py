"""What every gate is: a cheap reweighting of a mixer's output by itself, or of that against the mixer's input."""

import math
from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from nas.errors import ArchError
from nas.operators.contract import ANYWHERE, Context, Cost, Site
from nas.shapes import Domain


class Gate(nn.Module):
    """Reweights `[B, T, C]` by factors computed from it; parameters are built at the site's largest width.

    One that is legal on causal sites treats each token by itself, since decoding applies it to single tokens.
    """

    domains: ClassVar[frozenset[Domain]] = ANYWHERE
    shares: ClassVar[frozenset[str]] = frozenset()
    """Names in `context.published` that it leaves for gates of later blocks of the stage, and reads where present."""

    def __init__(self, site: Site) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""

    @classmethod
    @abstractmethod
    def cost(cls, site: Site) -> Cost:
        """Parameters and flops at the site's width."""


def grid_of(site: Site, gate: str) -> tuple[int, int]:
    """Rows and columns of the site's tokens; `ArchError` where they form no grid."""
    if site.grid is None or math.prod(site.grid) != site.tokens:
        raise ArchError(f"the gate {gate} needs a grid of {site.tokens} tokens, got {site.grid}: use it on images")
    return site.grid


def as_map(y: Tensor, site: Site, gate: str) -> Tensor:
    """`[B, T, C] -> [B, C, H, W]`."""
    return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], *grid_of(site, gate))


def entered(context: Context, gate: str) -> Tensor:
    """What the mixer read, `[B, T, C]`; `ArchError` outside a block, which says what it was."""
    if context.entered is None:
        raise ArchError(f"the gate {gate} weighs a mixer's output against its input, got None: set context.entered")
    return context.entered
