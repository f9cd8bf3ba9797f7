"""What every gate is: a cheap reweighting of a mixer's output by itself."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from nas.operators.contract import ANYWHERE, Context, Cost, Site
from nas.shapes import Domain


class Gate(nn.Module):
    """Reweights `[B, T, C]` by factors computed from it; parameters are built at the site's largest width.

    One that is legal on causal sites treats each token by itself, since decoding applies it to single tokens.
    """

    domains: ClassVar[frozenset[Domain]] = ANYWHERE

    def __init__(self, site: Site) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""

    @classmethod
    @abstractmethod
    def cost(cls, site: Site) -> Cost:
        """Parameters and flops at the site's width."""
