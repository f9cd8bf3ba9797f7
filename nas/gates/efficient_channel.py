"""Efficient channel attention: a channel's factor comes from the means of its neighbours among the channels.

"ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks" (2019).

    out = y * sigmoid(conv1d_k(mean_t y)) [B,1,C] along the channels, k odd and near (log2 C + 1) / 2
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.gates import contract
from nas.operators.contract import Context, Cost, Site


class ChannelConvolution(nn.Module):
    """Convolution along channels; taps lie in the order 0, -1, 1, -2, 2, ..., so that fewer are a leading corner."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        taps = kernel_size(embed_dim)
        self.taps = nn.Parameter(torch.randn(taps) / math.sqrt(taps))

    def forward(self, pooled: Tensor) -> Tensor:
        """`[..., C] -> [..., C]`, zeros beyond the ends."""
        width = pooled.shape[-1]
        taps = kernel_size(width)
        near = F.pad(pooled, (taps // 2, taps // 2)).unfold(-1, taps, 1)
        by_place = sorted(range(taps), key=_offset)
        return (near * self.taps[by_place]).sum(-1)


class Gate(contract.Gate):
    """A handful of weights at any width; the mean over all tokens would show a causal model its future."""

    domains = frozenset(("image", "sequence"))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.convolution = ChannelConvolution(site.embed_dim)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        logits: Tensor = self.convolution(y.mean(1, keepdim=True))
        return y * logits.sigmoid()

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The taps; no matrix products."""
        return Cost(params=kernel_size(site.embed_dim))


def kernel_size(embed_dim: int) -> int:
    """Taps at this width: the published rule, odd."""
    size = int((math.log2(embed_dim) + 1) / 2)
    return size if size % 2 else size + 1


def _offset(tap: int) -> int:
    return -((tap + 1) // 2) if tap % 2 else tap // 2
