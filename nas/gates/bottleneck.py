"""Bottleneck attention: a factor between 1 and 2 from the sum of a channel branch and a dilated spatial branch.

"BAM: Bottleneck Attention Module" (2018), the gate of "DenseBAM-GI". The branches are added, as in the paper;
its batch norms are left out, since their statistics would belong to no single subnet.

    m = sigmoid(MLP(mean_t y) [B,1,C] + W_3 relu(conv relu(conv relu(W_1 y))) [B,T,1]);  out = y * (1 + m)
    with W_1 to C/16 channels and two 3x3 convolutions of dilation 4
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic
from nas.gates import contract
from nas.gates.squeeze_excitation import Excitation, excitation_cost, hidden_width
from nas.operators.contract import Context, Cost, Site

KERNEL, DILATION, CONVOLUTIONS = 3, 4, 2


class Gate(contract.Gate):
    """Both branches work on the first C/16 hidden channels."""

    domains = frozenset(("image",))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        hidden = hidden_width(site.embed_dim)
        self.excitation = Excitation(site.embed_dim)
        self.reduce = Elastic((hidden,), (site.embed_dim,), bias=True)
        scale = 1.0 / math.sqrt(hidden * KERNEL**2)
        self.kernels = nn.Parameter(torch.randn(CONVOLUTIONS, hidden, hidden, KERNEL, KERNEL) * scale)
        self.biases = nn.Parameter(torch.zeros(CONVOLUTIONS, hidden))
        self.collect = Elastic((1,), (hidden,), bias=True)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        logits: Tensor = self.excitation(y.mean(1, keepdim=True)) + self._places(y, context.site)
        return y * (1.0 + logits.sigmoid())

    def _places(self, y: Tensor, site: Site) -> Tensor:
        hidden = hidden_width(y.shape[-1])
        maps = contract.as_map(self.reduce(y, hidden).relu(), site, "bottleneck")
        for kernel, bias in zip(self.kernels[:, :hidden, :hidden], self.biases[:, :hidden], strict=True):
            maps = F.conv2d(maps, kernel, bias, padding=DILATION, dilation=DILATION).relu()
        logits: Tensor = self.collect(maps.flatten(2).transpose(1, 2), 1)
        return logits

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The channel branch once per sample, the spatial one once per token."""
        hidden = hidden_width(site.embed_dim)
        weights = site.embed_dim * hidden + CONVOLUTIONS * (KERNEL * hidden) ** 2 + hidden
        biases = (1 + CONVOLUTIONS) * hidden + 1
        return excitation_cost(site) + Cost(params=weights + biases, flops=2 * weights * site.tokens)
