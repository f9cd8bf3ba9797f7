"""No token mixing: with an FFN a per-token block, without one a block that is off."""

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.operators.contract import Context, Cost, Knobs, Operator, Site


class Mixer(Operator[Knobs]):
    """Adds nothing to the residual stream; blocks skip it."""

    knobs_type = Knobs
    projections = frozenset()

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Zeros."""
        return x * 0

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: None = None
    ) -> tuple[Tensor, None]:
        """Zeros; no state."""
        return torch.zeros_like(x), None

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> None:
        """No state."""

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Nothing."""
        return Cost()

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """Nothing is mixed."""
        return 0
