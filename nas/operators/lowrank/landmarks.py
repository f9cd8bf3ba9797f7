"""Attention through landmarks: softmax attention by a Nystrom approximation from segment means of queries and keys.

"Nystromformer: A Nystrom-Based Algorithm for Approximating Self-Attention" (2021), without its convolution on v. A
segment mean mixes tokens of all positions, so there is no causal form.

    q', k' [B,H,M,D] means of M segments
    F = softmax(q k'^T) [T,M], A = softmax(q' k'^T) [M,M], G = softmax(q' k^T) [M,T]
    y = F A^+ (G v), all scores over sqrt D;  A^+ by six steps Z <- Z (13 I - AZ (15 I - AZ (7 I - AZ))) / 4
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

STEPS = 6
PRODUCTS_PER_STEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads and the number of segments that landmarks are the means of."""

    num_landmarks: int


class Mixer(Operator[Knobs]):
    """No parameters of its own; time falls with the number of landmarks and is linear in the tokens."""

    knobs_type = Knobs
    suggested = {"num_landmarks": (64, 32, 16)}
    domains = frozenset(("image", "sequence"))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA from landmarks to tokens, then two narrow products."""
        q, k, v = qkv(x, projections, knobs)
        return projections.output(landmark_attention(q, k, v, knobs.num_landmarks), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The three kernels and their whole product `[T, T]`, means segment by segment."""
        q, k, v = qkv(x, projections, knobs)
        k, v = attention.repeat_heads(k, knobs.num_heads), attention.repeat_heads(v, knobs.num_heads)
        tokens, count = x.shape[1], knobs.num_landmarks
        ends = [(i * tokens // count, -(-(i + 1) * tokens // count)) for i in range(count)]
        few_q, few_k = (torch.stack([part[:, :, a:b].mean(2) for a, b in ends], dim=2) for part in (q, k))
        inner = pseudo_inverse(_kernel(few_q, few_k))
        return projections.output(_kernel(q, few_k) @ inner @ _kernel(few_q, k) @ v, x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every token reaches every other one through the landmarks; those are what would have to be kept."""
        few, width, tokens = knobs.num_landmarks, knobs.num_heads * knobs.head_dim, site.tokens
        long = 8 * width * few * tokens
        square = 4 * width * few**2 + 2 * PRODUCTS_PER_STEP * STEPS * knobs.num_heads * few**3
        inner = Cost(flops=long + square, kv_cache_bytes=8 * width * few, pairs=site.allowed_pairs)
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The number of landmarks."""
        return knobs.num_landmarks

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """No more landmarks than tokens."""
        if knobs.num_landmarks > site.tokens:
            raise ArchError(
                f"num_landmarks must be at most the {site.tokens} tokens, got {knobs.num_landmarks}: lower it"
            )


def landmark_attention(q: Tensor, k: Tensor, v: Tensor, num_landmarks: int, steps: int = STEPS) -> Tensor:
    """`[B, H, T, D]` from q `[B, H, T, D]`, k and v `[B, Hkv, T, D]`; exact for T landmarks and many steps."""
    few_q, few_k = _means(q, num_landmarks), attention.repeat_heads(_means(k, num_landmarks), q.shape[1])
    summaries = pseudo_inverse(_kernel(few_q, few_k), steps) @ attention.dense(few_q, k, v)
    return _kernel(q, few_k) @ summaries


def pseudo_inverse(matrix: Tensor, steps: int = STEPS) -> Tensor:
    """Moore-Penrose inverse of `[..., M, M]` by products alone, without a decomposition to differentiate."""
    largest = matrix.abs().sum(-1).amax(-1) * matrix.abs().sum(-2).amax(-1)
    found = matrix.transpose(-1, -2) / largest[..., None, None]
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(steps):
        product = matrix @ found
        found = found @ (13.0 * one - product @ (15.0 * one - product @ (7.0 * one - product))) / 4.0
    return found


def _means(x: Tensor, count: int) -> Tensor:
    batch, heads, tokens, width = x.shape
    flat = x.transpose(2, 3).reshape(batch, heads * width, tokens)
    return F.adaptive_avg_pool1d(flat, count).reshape(batch, heads, width, count).transpose(2, 3)


def _kernel(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
