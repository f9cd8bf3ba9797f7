"""Attentional feature fusion: a mixer's input and output are blended by a mask that both determine.

"Attentional Feature Fusion" (2020), the fusion of "TreeNet: A Light Weight Model for Low Bitrate Image Compression"
(2025). Biases take the place of the batch norms.

    x, y [B,T,C] what the mixer read and wrote;  M = sigmoid(MLP_1(x + y) [B,T,C] + MLP_2(mean_t (x + y)) [B,1,C])
    out = M x + (1 - M) y, with perceptrons through C/4
"""

from torch import Tensor

from nas.gates import contract
from nas.gates.squeeze_excitation import Excitation, excitation_cost
from nas.operators.contract import Context, Cost, Site

REDUCTION = 4


class Gate(contract.Gate):
    """The mean over all tokens would show a causal model its future."""

    domains = frozenset(("image", "sequence"))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.here = Excitation(site.embed_dim, REDUCTION)
        self.everywhere = Excitation(site.embed_dim, REDUCTION)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        read = contract.entered(context, "attentional_fusion")
        mask = self.mask(read + y)
        return mask * read + (1.0 - mask) * y

    def mask(self, both: Tensor) -> Tensor:
        """The input's share `[B, T, C]` from the sum of input and output."""
        logits: Tensor = self.here(both) + self.everywhere(both.mean(1, keepdim=True))
        return logits.sigmoid()

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """One perceptron per token and one per sample."""
        return excitation_cost(site, site.tokens, REDUCTION) + excitation_cost(site, 1, REDUCTION)
