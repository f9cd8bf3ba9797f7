"""Token-wise fusion: every token chooses between what the mixer read and what it made of it, by one number.

"Looking to Learn: Token-wise Dynamic Gating for Low-Resource Vision-Language Modelling" (2025), per token and soft.
Each token is weighed by itself, so it is legal on causal sites.

    u, c [B,T,C] what the mixer read and wrote;  g = sigmoid(W [u; c] + b) [B,T,1];  out = g u + (1 - g) c
"""

import torch
from torch import Tensor

from nas.elastic import Elastic
from nas.gates import contract
from nas.operators.contract import Context, Cost, Site


class Fusion(contract.Gate):
    """Weighs input against output; a subclass says how many factors a token has at a width."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.weigh = Elastic((self.factors(site.embed_dim),), (2, site.embed_dim), bias=True)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        read = contract.entered(context, self.__module__.rpartition(".")[2])
        share = self.shares_of(self.weigh(torch.stack((read, y), dim=-2), self.factors(y.shape[-1])))
        return share * read + (1.0 - share) * y

    def shares_of(self, logits: Tensor) -> Tensor:
        """The input's share of the output, soft by default."""
        return logits.sigmoid()

    @classmethod
    def factors(cls, embed_dim: int) -> int:
        """Factors per token: one for all channels."""
        return 1

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """One map of input and output per token."""
        weights = 2 * site.embed_dim * cls.factors(site.embed_dim)
        return Cost(params=weights + cls.factors(site.embed_dim), flops=2 * weights * site.tokens)


class Gate(Fusion):
    """One factor per token."""
