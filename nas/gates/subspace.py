"""Subspace attention: each group of channels gets one map of places that sums to 1, added to 1.

"ULSAM: Ultra-Lightweight Subspace Attention Module for Compact Convolutional Neural Networks" (2020) with 4 groups.
Group n holds the channels n, n + 4, n + 8, ..., so that a channel keeps its group at every width; shifts take the place
of the batch norms.

    a = maxpool3x3(relu(u * y_n + s));  A_n = softmax over T of relu(w_n . a + b_n) [B,T,1];  out_n = y_n * (1 + A_n)

A map of T places is of order 1/T, so on large grids the gate does little; the pooling makes it the
slowest gate here, half the time of softmax attention on 32 x 32 places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.gates import contract
from nas.operators.contract import Context, Cost, Site

GROUPS = 4


class Gate(contract.Gate):
    """Three numbers per channel and one per group, whatever the number of groups."""

    domains = frozenset(("image",))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.gains = nn.Parameter(torch.ones(site.embed_dim))
        self.shifts = nn.Parameter(torch.zeros(site.embed_dim))
        self.collect = nn.Parameter(torch.randn(site.embed_dim) * (GROUPS / site.embed_dim) ** 0.5)
        self.biases = nn.Parameter(torch.zeros(GROUPS))

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        width = y.shape[-1]
        active = (y * self.gains[:width] + self.shifts[:width]).relu()
        pooled = F.max_pool2d(contract.as_map(active, context.site, "subspace"), 3, stride=1, padding=1)
        weighed = pooled.flatten(2) * self.collect[:width, None]
        # channels without a partner in the last round of groups are joined by zeros
        rounds = F.pad(weighed, (0, 0, 0, -width % GROUPS))
        rounds = rounds.reshape(len(y), -1, GROUPS, y.shape[1])
        maps = (rounds.sum(1) + self.biases[:, None]).relu().softmax(-1)
        factors: Tensor = 1.0 + maps.repeat(1, rounds.shape[1], 1)[:, :width].transpose(1, 2)
        return y * factors

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """No matrix products."""
        return Cost(params=3 * site.embed_dim + GROUPS)
