"""Squeeze and excitation: every channel is scaled by what all channels say on average.

"Squeeze-and-Excitation Networks" (2017). The spectral gate of "FPGA: Fast Patch-Free Global Learning Framework" (2020,
FreeNet) is the same.

    y * sigmoid(W_2 relu(W_1 mean_t y + b_1) + b_2) with W_1 [C/r,C], W_2 [C,C/r]
"""

from torch import Tensor, nn

from nas.elastic import Elastic
from nas.gates import contract
from nas.operators.contract import Context, Cost, Site

REDUCTION = 16
# a sixteenth of a small width could say nothing
SMALLEST_HIDDEN = 8


class Excitation(nn.Module):
    """The two-layer perceptron `[..., C] -> [..., C]`; a narrower input uses fewer hidden units, the first ones."""

    def __init__(self, embed_dim: int, reduction: int = REDUCTION) -> None:
        super().__init__()
        self._reduction = reduction
        hidden = hidden_width(embed_dim, reduction)
        self.squeeze = Elastic((hidden,), (embed_dim,), bias=True)
        self.excite = Elastic((embed_dim,), (hidden,), bias=True)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits of the channels' factors."""
        width = pooled.shape[-1]
        logits: Tensor = self.excite(self.squeeze(pooled, hidden_width(width, self._reduction)).relu(), width)
        return logits


class Gate(contract.Gate):
    """Scales channels by their mean over all tokens, which would show a causal model its future."""

    domains = frozenset(("image", "sequence"))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.excitation = Excitation(site.embed_dim)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        logits: Tensor = self.excitation(y.mean(1, keepdim=True))
        return y * logits.sigmoid()

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The perceptron, once per sample."""
        return excitation_cost(site)


def hidden_width(embed_dim: int, reduction: int = REDUCTION) -> int:
    """Hidden units of the perceptron at this width."""
    return max(SMALLEST_HIDDEN, embed_dim // reduction)


def excitation_cost(site: Site, passes: int = 1, reduction: int = REDUCTION) -> Cost:
    """Parameters of one perceptron and flops of `passes` runs of it."""
    hidden = hidden_width(site.embed_dim, reduction)
    weights, biases = 2 * site.embed_dim * hidden, hidden + site.embed_dim
    return Cost(params=weights + biases, flops=2 * passes * weights)
