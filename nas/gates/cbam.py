"""Convolutional block attention: channels are scaled by their mean and maximum over tokens, then places by theirs.

"CBAM: Convolutional Block Attention Module" (2018). The batch norm after the spatial convolution is left out, since its
statistics would belong to no single subnet of a shared network; a bias takes the place of its shift.

    m_c = sigmoid(MLP(mean_t y) + MLP(max_t y)) [B,1,C];  y' = y * m_c
    m_s = sigmoid(conv7x7([max_c y', mean_c y'])) [B,T,1];  out = y' * m_s
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.gates import contract
from nas.gates.squeeze_excitation import Excitation, excitation_cost
from nas.operators.contract import Context, Cost, Site

KERNEL = 7


class Gate(contract.Gate):
    """Channel gate, then spatial gate; the spatial kernel is the same at every width."""

    domains = frozenset(("image",))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.excitation = Excitation(site.embed_dim)
        self.kernel = nn.Parameter(torch.randn(1, 2, KERNEL, KERNEL) / math.sqrt(2 * KERNEL**2))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        mean, peak = y.mean(1, keepdim=True), y.amax(1, keepdim=True)
        y = y * (self.excitation(mean) + self.excitation(peak)).sigmoid()
        maps = torch.stack((y.amax(-1), y.mean(-1)), dim=1)
        logits = F.conv2d(
            maps.view(*maps.shape[:2], *contract.grid_of(context.site, "cbam")),
            self.kernel,
            self.bias,
            padding=KERNEL // 2,
        )
        return y * logits.flatten(2).transpose(1, 2).sigmoid()

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The perceptron twice and the convolution."""
        taps = 2 * KERNEL**2
        return excitation_cost(site, passes=2) + Cost(params=taps + 1, flops=2 * taps * site.tokens)
