"""A small low-rank model of the attention map says which key blocks each block of queries attends to.

"Sparsifiner: Learning Sparse Instance-Dependent Attention for Efficient Vision Transformers" (2023), between blocks;
with block_size 1 between tokens, as in the paper, where no executor here gains by its mask.

    Qp, Kp [B,H,n,D] = means of n = ceil(T / block_size) blocks;  q^ = Qp W_q, k^ = Kp W_k [B,H,n,p], p = predictor_dim
    A^ = softmax(q^ (P k^)^T / sqrt p) U [B,H,n,n];  P, U [rank, n];  I = topk key blocks of each row, no gradient
    y = softmax(q k^T / sqrt D over the tokens of blocks I) v;  out = y W_o
    training adds sum_b (A^ - A)_b^2, averaged over rows: A is the full attention map by blocks, without a gradient

P and U belong to positions; shorter inputs use their first columns. The paper also zeroes small coefficients and small
entries of U, to save products that are small here; training computes A in full.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.pattern import executed_pairs
from nas.operators.sparse_linear import block_means


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, key blocks per query block (more than there are means all), rank and width of A^."""

    block_size: int
    topk: int
    rank: int
    predictor_dim: int

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.predictor_dim > self.head_dim:
            raise ArchError(
                f"predictor_dim must be at most head_dim ({self.head_dim}), got {self.predictor_dim}: lower it"
            )

    def num_blocks(self, tokens: int) -> int:
        """n, the last block may be short."""
        return -(-tokens // self.block_size)


class Mixer(Operator[Knobs]):
    """Learned block sparsity that is trained to find where full attention would look."""

    knobs_type = Knobs
    suggested = {"block_size": (32, 16), "topk": (4, 2), "rank": (8, 4), "predictor_dim": (16, 8)}
    domains = frozenset(("image", "sequence"))
    publishes = KV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        width, narrow = max(knobs.head_dim for knobs in choices), max(knobs.predictor_dim for knobs in choices)
        shape = max(knobs.rank for knobs in choices), max(knobs.num_blocks(site.tokens) for knobs in choices)
        self.queries, self.keys = Elastic((narrow,), (width,)), Elastic((narrow,), (width,))
        self.down = nn.Parameter(torch.randn(shape) / math.sqrt(shape[1]))
        self.basis = nn.Parameter(torch.rand(shape) * 2 / shape[1])

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Gathered blocks or a dense mask."""
        q, k, v = qkv(x, projections, knobs, context)
        if knobs.topk >= knobs.num_blocks(x.shape[1]):
            return projections.output(attention.dense(q, k, v), x.shape[-1], knobs.num_kv_heads)
        predicted = self.predicted(block_means(q, knobs.block_size), block_means(k, knobs.block_size), knobs)
        self._teach(predicted, q, k, knobs, context)
        lists = predicted.detach().topk(knobs.topk, dim=-1).indices
        pattern = Visibility(tokens=x.shape[1], block_size=knobs.block_size, lists=lists)
        return projections.output(attention.sparse(q, k, v, pattern), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; blocks are averaged one by one and ranked by sorting."""
        q, k, v = qkv(x, projections, knobs, context)
        if knobs.topk >= knobs.num_blocks(x.shape[1]):
            return projections.output(attention.reference(q, k, v), x.shape[-1], knobs.num_kv_heads)
        queries, keys = (
            torch.stack([part.mean(2) for part in torch.split(y, knobs.block_size, dim=2)], dim=2) for y in (q, k)
        )
        predicted = self.predicted(queries, keys, knobs)
        self._teach(predicted, q, k, knobs, context)
        chosen = predicted.argsort(-1, descending=True).argsort(-1) < knobs.topk
        block = torch.arange(x.shape[1], device=x.device) // knobs.block_size
        return projections.output(
            attention.reference(q, k, v, chosen[:, :, block][..., block]), x.shape[-1], knobs.num_kv_heads
        )

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed pairs and the predictor; `pairs` as if all blocks were whole."""
        width, heads, blocks = knobs.head_dim, knobs.num_heads, knobs.num_blocks(site.tokens)
        narrow, topk = knobs.predictor_dim, min(knobs.topk, blocks)
        flops = 4 * heads * width * site.tokens**2
        if topk < blocks:
            lists = torch.zeros(1, 1, blocks, topk, dtype=torch.int64)
            pattern = Visibility(tokens=site.tokens, block_size=knobs.block_size, lists=lists)
            narrowed = blocks * narrow * (width * (heads + knobs.num_kv_heads) + knobs.rank * knobs.num_kv_heads)
            mapped = heads * blocks * knobs.rank * (narrow + blocks)
            flops = 4 * heads * width * executed_pairs(pattern) + 2 * (narrowed + mapped)
        inner = Cost(
            params=2 * narrow * width + 2 * knobs.rank * blocks,
            flops=flops,
            kv_cache_bytes=8 * knobs.num_kv_heads * width * site.tokens,
            pairs=site.tokens**2 * topk / blocks,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width; that of A^ decides only who is visited."""
        return knobs.head_dim

    def predicted(self, queries: Tensor, keys: Tensor, knobs: Knobs) -> Tensor:
        """A^ `[B, Hq, n, n]` of block means `[B, Hq, n, D]` and `[B, Hkv, n, D]`."""
        corner = slice(knobs.rank), slice(queries.shape[2])
        summaries = self.down[corner] @ self.keys(keys, knobs.predictor_dim)
        summaries = attention.repeat_heads(summaries, knobs.num_heads)
        scores: Tensor = self.queries(queries, knobs.predictor_dim) @ summaries.transpose(-1, -2)
        return (scores / math.sqrt(knobs.predictor_dim)).softmax(-1) @ self.basis[corner]

    def _teach(self, predicted: Tensor, q: Tensor, k: Tensor, knobs: Knobs, context: Context) -> None:
        """In training the distance of A^ from A goes to the context."""
        if self.training and torch.is_grad_enabled():
            distance = predicted - true_map(q, k, knobs.block_size)
            context.penalties.append(distance.square().sum(-1).mean())


@torch.no_grad()
def true_map(q: Tensor, k: Tensor, block_size: int) -> Tensor:
    """A `[B, Hq, n, n]`: how much of its attention a block of queries gives to each block of keys."""
    keys = attention.repeat_heads(k, q.shape[1])
    weights = (q @ keys.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    padded = F.pad(weights, (0, -k.shape[2] % block_size))
    return block_means(torch.unflatten(padded, -1, (-1, block_size)).sum(-1), block_size)
