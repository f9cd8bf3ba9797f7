"""Previous knowledge: a channel's factor comes from its own block and from what earlier blocks said about channels.

"PKCAM: Previous Knowledge Channel Attention Module" (2022), the form with sources in the same stage: the means of up to
four earlier blocks of the stage that have this gate, weighed by their age. Without any the own branch is alone.

    s = mean_t y [B,C];  l = sigmoid(conv1d_k s);  g = sigmoid(conv1d_k relu(w_0 s + sum_i w_i s_i))
    out = y * (1 + sigmoid(a l + b g))
"""

import torch
from torch import Tensor, nn

from nas.gates import contract
from nas.gates.efficient_channel import ChannelConvolution, kernel_size
from nas.operators.contract import Context, Cost, Site

NAME = "pooled_channels"
SOURCES = 4


class Gate(contract.Gate):
    """Publishes the means `[B, S, C]`, the newest first; all weights but the taps are the same at every width."""

    domains = frozenset(("image", "sequence"))
    shares = frozenset((NAME,))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.local = ChannelConvolution(site.embed_dim)
        self.fused = ChannelConvolution(site.embed_dim)
        self.ages = nn.Parameter(torch.full((1 + SOURCES,), 1.0 / (1 + SOURCES)))
        self.balance = nn.Parameter(torch.ones(2))

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        own = y.mean(1, keepdim=True)
        earlier = context.published.get(NAME)
        logits: Tensor = self.balance[0] * self.local(own).sigmoid()
        known = own if earlier is None else torch.cat((own, earlier), dim=1)
        if earlier is not None:
            mixed = (known * self.ages[: known.shape[1], None]).sum(1, keepdim=True).relu()
            logits = logits + self.balance[1] * self.fused(mixed).sigmoid()
        context.published[NAME] = known[:, :SOURCES]
        return y * (1.0 + logits.sigmoid())

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """A dozen weights; no matrix products."""
        return Cost(params=2 * kernel_size(site.embed_dim) + SOURCES + 3)
