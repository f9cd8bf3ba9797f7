"""The feed-forward part: MLP and SwiGLU of any hidden width on one pair of shared matrices, and an MLP in two chunks.

"GLU Variants Improve Transformer" (2020) for SwiGLU; "CascadedViT: Cascaded Chunk-FeedForward and Cascaded Group
Attention Vision Transformer" (2025) for the chunks.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.arch import NONE, FfnArch
from nas.elastic import Elastic, dealt, gathered
from nas.errors import ArchError
from nas.operators.contract import Cost, Site

CHUNKS = 2


class Ffn(nn.Module):
    """`[B, T, C] -> [B, T, C]`; `up` and `down` serve MLP and SwiGLU, `gate` only SwiGLU."""

    def __init__(self, choices: Sequence[FfnArch], embed_dim: int) -> None:
        super().__init__()
        whole = [ffn.hidden(embed_dim) for ffn in choices if ffn.kind != "chunked"]
        gated = [ffn.hidden(embed_dim) for ffn in choices if ffn.kind == "swiglu"]
        parts = [ffn.hidden(embed_dim) // CHUNKS for ffn in choices if ffn.kind == "chunked"]
        self.up = Elastic((max(whole),), (embed_dim,)) if whole else None
        self.gate = Elastic((max(gated),), (embed_dim,)) if gated else None
        self.down = Elastic((embed_dim,), (max(whole),)) if whole else None
        self.chunks = Chunks(embed_dim // CHUNKS, max(parts)) if parts else None

    def forward(self, x: Tensor, arch: FfnArch) -> Tensor:
        """GELU(x U) D, (SiLU(x G) * x U) D, or the chunks in a row."""
        embed_dim = x.shape[-1]
        hidden = arch.hidden(embed_dim)
        if arch.kind == "chunked" and self.chunks is not None:
            chunked: Tensor = self.chunks(x, hidden // CHUNKS)
            return chunked
        if self.up is None or self.down is None:
            raise LookupError(f"the block was built without an FFN of kind {arch.kind!r}")
        y = self.up(x, hidden)
        if arch.kind == "swiglu" and self.gate is not None:
            out: Tensor = self.down(F.silu(self.gate(x, hidden)) * y, embed_dim)
            return out
        out = self.down(F.gelu(y), embed_dim)
        return out


class Chunks(nn.Module):
    """Chunks of every other channel, each with an MLP of its own; what one gives is added to what the next one sees.

    Half the products of a plain MLP of the same hidden width, one after another.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(CHUNKS, hidden, width) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(CHUNKS, width, hidden) / math.sqrt(hidden))

    def forward(self, x: Tensor, hidden: int) -> Tensor:
        """y_1 = f_1(x_1), y_i = f_i(x_i + y_{i-1}), `[B, T, C]`; `hidden` units for each chunk."""
        width = x.shape[-1] // CHUNKS
        outputs: list[Tensor] = []
        for i, part in enumerate(dealt(x, CHUNKS).unbind(1)):
            seen = part + outputs[-1] if outputs else part
            inner = F.gelu(F.linear(seen, self.up[i, :hidden, :width]))
            outputs.append(F.linear(inner, self.down[i, :width, :hidden]))
        return gathered(torch.stack(outputs, dim=1))


def check_ffn(arch: FfnArch, embed_dim: int) -> None:
    """`ArchError` where channels or hidden units do not divide into chunks."""
    if arch.kind == "chunked" and (embed_dim % CHUNKS or arch.hidden(embed_dim) % CHUNKS):
        raise ArchError(
            f"an FFN in {CHUNKS} chunks needs that many equal parts of its {embed_dim} channels and "
            f"{arch.hidden(embed_dim)} hidden units: change embed_dim or the ratio"
        )


def ffn_cost(arch: FfnArch, site: Site) -> Cost:
    """Two matrices, three with a gate, one in sum where two chunks have a quarter of two each."""
    matrices = {NONE: 0, "mlp": 2, "swiglu": 3, "chunked": 1}[arch.kind]
    params = matrices * arch.hidden(site.embed_dim) * site.embed_dim
    return Cost(params=params, flops=2 * params * site.tokens)
