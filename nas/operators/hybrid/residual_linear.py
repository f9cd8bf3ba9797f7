"""Softmax attention on the key blocks of highest pooled score, plus a projected linear attention on the next ones.

"SLA: Beyond Sparsity in Diffusion Transformers via Fine-Tunable Sparse-Linear Attention" (2025).

    P = softmax(Qp Kp^T / sqrt D), Qp and Kp [B,H,n,D] block means; blocks of each row in descending order of P:
    the first topk critical, the next num_marginal marginal, the rest left out;  out = (O_s + O_l W_l) W_o

W_l [D, D], one for all heads, is zero at first: the layer starts as block-sparse attention. The paper subtracts the
mean key before pooling, which changes no order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nas.elastic import Elastic
from nas.kernels import attention
from nas.operators.contract import Cost, Site
from nas.operators.sparse_linear import MixtureKnobs, SparseLinear


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(MixtureKnobs):
    """Heads, blocks, critical blocks, the feature map, and marginal blocks (more than there are means all others)."""

    num_marginal: int


class Mixer(SparseLinear[Knobs]):
    """Linear attention as a correction of block-sparse attention."""

    knobs_type = Knobs
    suggested = {
        "block_size": (64, 32),
        "topk": (4, 2, 1),
        "feature_map": ("softmax", "elu_plus_one", "relu"),
        "num_marginal": (64, 8),
    }

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width = max(knobs.head_dim for knobs in choices)
        self.correction = Elastic((width,), (width,))
        nn.init.zeros_(self.correction.weight)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """P before the softmax, which has the same order."""
        keys = attention.repeat_heads(keys, queries.shape[1])
        return (queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])).detach()

    def marginal(self, scores: Tensor, critical: Tensor, knobs: Knobs) -> Tensor:
        """Blocks after the critical ones, without the least."""
        order = scores.argsort(-1, descending=True).argsort(-1)
        return (~critical & (order < knobs.topk + knobs.num_marginal)).to(scores.dtype)

    def blend(self, near: Tensor, far: Tensor | None, knobs: Knobs) -> Tensor:
        """O_s + O_l W_l."""
        return near if far is None else near + self.correction(far, far.shape[-1])

    @classmethod
    def own_cost(cls, knobs: Knobs, site: Site) -> Cost:
        """W_l; pairs of the blocks that are not left out, as if all were whole."""
        blocks, width = knobs.num_blocks(site.tokens), knobs.head_dim
        visited = min(1.0, (knobs.topk + knobs.num_marginal) / blocks)
        flops = 2 * knobs.num_heads * width * (blocks**2 + width * site.tokens)
        return Cost(params=width**2, flops=flops, pairs=visited * site.allowed_pairs)
