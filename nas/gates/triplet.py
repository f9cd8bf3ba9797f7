"""Triplet attention: every pair of the axes channel, row and column is gated by a map over it; no weight has the width.

"Rotate to Attend: Convolutional Triplet Attention Module" (2020). A bias takes the place of the batch norm.

    y [B,C,H,W];  for each axis a of C, H, W:  m_a = sigmoid(conv7x7([max_a y, mean_a y])) [B,1,other two axes]
    out = (y m_C + y m_H + y m_W) / 3
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.gates import contract
from nas.operators.contract import Context, Cost, Site

KERNEL = 7
AXES = (1, 2, 3)


class Gate(contract.Gate):
    """Three convolutions of two maps each, the same at every width."""

    domains = frozenset(("image",))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.kernels = nn.Parameter(torch.randn(len(AXES), 1, 2, KERNEL, KERNEL) / math.sqrt(2 * KERNEL**2))
        self.biases = nn.Parameter(torch.zeros(len(AXES), 1))

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        places = contract.as_map(y, context.site, "triplet")
        factors = torch.stack([self._factors(places, i).expand_as(places) for i in range(len(AXES))]).mean(0)
        return y * factors.flatten(2).transpose(1, 2)

    def _factors(self, places: Tensor, i: int) -> Tensor:
        axis = AXES[i]
        maps = torch.stack((places.amax(axis), places.mean(axis)), dim=1)
        return F.conv2d(maps, self.kernels[i], self.biases[i], padding=KERNEL // 2).sigmoid().squeeze(1).unsqueeze(axis)

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The convolutions over places, columns and rows."""
        rows, columns = contract.grid_of(site, "triplet")
        taps = 2 * KERNEL**2
        return Cost(params=len(AXES) * (taps + 1), flops=2 * taps * (site.tokens + site.embed_dim * (rows + columns)))
