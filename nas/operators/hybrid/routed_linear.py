"""Softmax attention on key blocks that a learned router picks, linear attention on all others, a share of each.

"SLA2: Sparse-Linear Attention with Learnable Routing and QAT" (2026), its attention without the low-bit arithmetic.

    P = softmax((Qp R_q)(Kp R_k)^T / sqrt D), Qp and Kp [B,H,n,D] block means, R_q, R_k [D, D], the identity at first
    M = the topk key blocks of each row of P;  out = (a O_s + (1 - a) O_l) W_o, O_s inside M, O_l outside
    in training the gradient of M is that of sigmoid(P / 0.1 + l), with l such that each row adds up to topk

a is one learned number in (0, 1) per head, where the paper has one per block of queries of a fixed length. The router
learns through M in O_l, together with everything else; the paper fits it to full attention first. Queries and keys have
blocks of the same size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.kernels import attention
from nas.operators.contract import Cost, Site, of_heads
from nas.operators.sparse_linear import MixtureKnobs, SparseLinear

TEMPERATURE = 0.1
BISECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(MixtureKnobs):
    """Heads, blocks, critical blocks and the feature map."""


class Mixer(SparseLinear[Knobs]):
    """Every pair is mixed, the few critical blocks exactly."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2, 1), "feature_map": ("softmax", "elu_plus_one", "relu")}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width = max(knobs.head_dim for knobs in choices)
        self.routers = nn.Parameter(torch.eye(width).repeat(2, 1, 1))
        self.shares = nn.Parameter(torch.zeros(max(knobs.num_heads for knobs in choices)))

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """P."""
        width = queries.shape[-1]
        for_queries, for_keys = self.routers[:, :width, :width]
        keys = attention.repeat_heads(keys @ for_keys, queries.shape[1])
        scores: Tensor = queries @ for_queries @ keys.transpose(-1, -2) / math.sqrt(width)
        return scores.softmax(-1)

    def marginal(self, scores: Tensor, critical: Tensor, knobs: Knobs) -> Tensor:
        """1 - M, in training with the gradient of the soft choice."""
        outside = (~critical).to(scores.dtype)
        if not self.training:
            return outside
        soft = soft_choice(scores, knobs.topk)
        return outside - (soft - soft.detach())

    def blend(self, near: Tensor, far: Tensor | None, knobs: Knobs) -> Tensor:
        """a O_s + (1 - a) O_l."""
        share = of_heads(self.shares, knobs)[:, None, None].sigmoid()
        return share * near if far is None else share * near + (1 - share) * far

    @classmethod
    def own_cost(cls, knobs: Knobs, site: Site) -> Cost:
        """R_q, R_k and a; all pairs are mixed by one of the branches."""
        width, blocks = knobs.head_dim, knobs.num_blocks(site.tokens)
        routed = 2 * blocks * width * (width * (knobs.num_heads + knobs.num_kv_heads) + knobs.num_heads * blocks)
        return Cost(params=2 * width**2 + knobs.num_heads, flops=routed, pairs=site.allowed_pairs)


def soft_choice(scores: Tensor, count: int) -> Tensor:
    """sigmoid(scores / 0.1 + l) in which every row adds up to `count`, fewer than its entries; l has no gradient."""
    scaled = scores / TEMPERATURE
    with torch.no_grad():
        low, high = -scaled.amax(-1, keepdim=True) - 40, -scaled.amin(-1, keepdim=True) + 40
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            is_short = (scaled + middle).sigmoid().sum(-1, keepdim=True) < count
            low, high = torch.where(is_short, middle, low), torch.where(is_short, high, middle)
    return (scaled + (low + high) / 2).sigmoid()
