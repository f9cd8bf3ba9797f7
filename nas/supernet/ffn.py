"""The feed-forward part: MLP and SwiGLU of any hidden width on one pair of shared matrices.

"GLU Variants Improve Transformer" (2020) for SwiGLU.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from nas.arch import NONE, FfnArch
from nas.elastic import Elastic
from nas.operators.contract import Cost, Site


class Ffn(nn.Module):
    """`[B, T, C] -> [B, T, C]`; `up` and `down` serve both kinds, `gate` only SwiGLU."""

    def __init__(self, choices: Sequence[FfnArch], embed_dim: int) -> None:
        super().__init__()
        hidden = max(ffn.hidden(embed_dim) for ffn in choices)
        gated = [ffn.hidden(embed_dim) for ffn in choices if ffn.kind == "swiglu"]
        self.up = Elastic((hidden,), (embed_dim,))
        self.gate = Elastic((max(gated),), (embed_dim,)) if gated else None
        self.down = Elastic((embed_dim,), (hidden,))

    def forward(self, x: Tensor, arch: FfnArch) -> Tensor:
        """GELU(x U) D, or (SiLU(x G) * x U) D."""
        embed_dim = x.shape[-1]
        hidden = arch.hidden(embed_dim)
        y = self.up(x, hidden)
        if arch.kind == "swiglu" and self.gate is not None:
            out: Tensor = self.down(F.silu(self.gate(x, hidden)) * y, embed_dim)
            return out
        out = self.down(F.gelu(y), embed_dim)
        return out


def ffn_cost(arch: FfnArch, site: Site) -> Cost:
    """Two matrices, three with a gate."""
    matrices = {NONE: 0, "mlp": 2, "swiglu": 3}[arch.kind]
    params = matrices * arch.hidden(site.embed_dim) * site.embed_dim
    return Cost(params=params, flops=2 * params * site.tokens)
