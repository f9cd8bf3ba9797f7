"""Softmax attention on the key blocks that an estimate without weights says matter, for blocks of queries.

pooled: "SpargeAttn: Accurate Sparse Attention Accelerating Any Model Inference" (2025): scores of block means; a key
block whose tokens do not resemble each other comes first, since its mean says little. four_bit: "SALE: Low-bit
Estimation for Efficient Sparse Attention in Long-context LLM Prefilling" (2025): the largest score of four-bit queries
and keys, whose mean is taken off. Both with a fixed number of blocks, so that costs are known beforehand;
`nas.train.budgets` finds the least number within an error budget. Their skipping inside the kernel is left out.

    pooled: s_ab = mean(q_a) mean(k_b) / sqrt D, + inf where mean cosine within k_b <= 0.6
    four_bit: s_ab = max of round4(q_i) round4(k_j - mean k) / sqrt D over i in a, j in b
    I_a = topk key blocks;  y = softmax(q k^T / sqrt D over the tokens of blocks I_a) v;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.pattern import executed_pairs
from nas.operators.sparse_linear import block_means

Estimate = Literal["pooled", "four_bit"]
UNIFORM, LEVELS = 0.6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, key blocks per query block (more than there are means all), and what is estimated."""

    block_size: int
    topk: int
    estimate: Estimate

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.estimate not in get_args(Estimate):
            raise ArchError(
                f"estimate must be one of {', '.join(get_args(Estimate))}; got {self.estimate!r}: change it"
            )


class Mixer(Operator[Knobs]):
    """No parameters, so that any trained softmax attention can be thinned. Four bits save no time on a device whose
    products have no such type.
    """

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2), "estimate": get_args(Estimate)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Gathered blocks or a dense mask."""
        q, k, v = qkv(x, projections, knobs)
        if knobs.topk >= -(-x.shape[1] // knobs.block_size):
            return projections.output(attention.dense(q, k, v), x.shape[-1], knobs.num_kv_heads)
        lists = estimated(q.detach(), k.detach(), knobs.block_size, knobs.estimate).topk(knobs.topk, dim=-1).indices
        pattern = Visibility(tokens=x.shape[1], block_size=knobs.block_size, lists=lists)
        return projections.output(attention.sparse(q, k, v, pattern), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax under a mask of ranked blocks."""
        q, k, v = qkv(x, projections, knobs)
        order = estimated(q.detach(), k.detach(), knobs.block_size, knobs.estimate).argsort(-1, descending=True)
        chosen = order.argsort(-1) < knobs.topk
        block = torch.arange(x.shape[1], device=x.device) // knobs.block_size
        return projections.output(
            attention.reference(q, k, v, chosen[:, :, block][..., block]), x.shape[-1], knobs.num_kv_heads
        )

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed pairs and the estimate; `pairs` as if all blocks were whole."""
        width, heads, blocks = knobs.head_dim, knobs.num_heads, -(-site.tokens // knobs.block_size)
        flops, topk = 4 * heads * width * site.tokens**2, min(knobs.topk, blocks)
        if topk < blocks:
            lists = torch.zeros(1, 1, blocks, topk, dtype=torch.int64)
            pattern = Visibility(tokens=site.tokens, block_size=knobs.block_size, lists=lists)
            rows = blocks if knobs.estimate == "pooled" else site.tokens
            flops = 4 * heads * width * executed_pairs(pattern) + 2 * heads * width * rows**2
        inner = Cost(
            flops=flops,
            kv_cache_bytes=8 * knobs.num_kv_heads * width * site.tokens,
            pairs=site.tokens**2 * topk / blocks,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


def estimated(q: Tensor, k: Tensor, block_size: int, estimate: Estimate) -> Tensor:
    """How much each block of keys may matter to each block of queries, `[B, Hq, n, n]`, in no unit."""
    k = attention.repeat_heads(k, q.shape[1])
    scale = q.shape[-1] ** -0.5
    if estimate == "pooled":
        means = block_means(q, block_size) @ block_means(k, block_size).transpose(-1, -2) * scale
        alike = block_means(F.normalize(k, dim=-1), block_size).square().sum(-1)
        # ahead of all uniform ones, and in order among themselves
        lead = 1 + means.amax((-1, -2), keepdim=True) - means.amin((-1, -2), keepdim=True)
        ranked: Tensor = means + lead * (alike <= UNIFORM).unsqueeze(-2)
        return ranked
    scores = four_bits(q) @ four_bits(k - k.mean(2, keepdim=True)).transpose(-1, -2) * scale
    return _block_maxima(_block_maxima(scores, block_size).transpose(-1, -2), block_size).transpose(-1, -2)


def four_bits(x: Tensor) -> Tensor:
    """Each token rounded to fifteen levels of its own scale."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny) / LEVELS
    rounded: Tensor = (x / scale).round() * scale
    return rounded


def _block_maxima(x: Tensor, block_size: int) -> Tensor:
    """`[..., T]` to `[..., n]`."""
    padded = F.pad(x, (0, -x.shape[-1] % block_size), value=float("-inf"))
    return padded.reshape(*x.shape[:-1], -1, block_size).amax(-1)
