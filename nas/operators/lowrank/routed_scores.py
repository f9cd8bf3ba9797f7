"""Attention whose scores have a rank per token: queries that a lower rank would harm most keep all columns.

"Dynamic Rank Reinforcement Learning for Adaptive Low-Rank Multi-Head Self Attention in Large Language Models" (2025). A
linear policy takes the place of the paper's, trained with the network instead of by rewards; its guard, the bound on
what a lower rank changes in the scores, is added to it. Tokens compete for the full rank, so there is no causal form.

    bound_t = sum over heads of |q_t beyond R| * max_s |k_s beyond R|;  priority_t = w . x_t + b + log bound_t
    y_t = softmax(q_t k^T / sqrt D) v for the ceil(T / one_in) tokens of the highest priority,
    y_t = softmax(q_t[:R] k[:R]^T / sqrt D) v for the others;  out = y W_o

The policy learns through a factor on the chosen tokens that is 1. The fused kernel pads narrow scores to the width of
the values, so no time is saved here: the operator says how much of the rank is needed where.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

SMALLEST = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, the lower rank of scores, and of how many tokens one has the full rank."""

    score_rank: int
    one_in: int

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.score_rank > self.head_dim:
            raise ArchError(
                f"score_rank must be at most head_dim, got {self.score_rank} and {self.head_dim}: change one"
            )


class Mixer(Operator[Knobs]):
    """Two passes of SDPA, one for each rank; the policy is the only parameter."""

    knobs_type = Knobs
    suggested = {"score_rank": (16, 8, 4), "one_in": (2, 4)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.policy = Elastic((1,), (site.embed_dim,), bias=True)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Queries in the order of their priority, those of the full rank first."""
        q, k, v = qkv(x, projections, knobs)
        wish = self._wish(x)
        order = (wish + bound(q, k, knobs.score_rank).log()).argsort(stable=True, dim=-1, descending=True)
        sorted_q = q.gather(2, order[:, None, :, None].expand_as(q))
        many, few = count(x.shape[1], knobs), knobs.score_rank
        parts = [attention.dense(sorted_q[:, :, :many], k, v) * _one(wish.gather(1, order[:, :many]))]
        if many < x.shape[1]:
            # the kernel divides by the square root of the width it sees
            narrow = sorted_q[:, :, many:, :few] * math.sqrt(few / knobs.head_dim)
            parts.append(attention.dense(narrow, k[..., :few], v))
        back = order.argsort(-1)[:, None, :, None].expand_as(q)
        return projections.output(torch.cat(parts, dim=2).gather(2, back), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Both ranks for all tokens, and of each token the one that its place in the queue gives it."""
        q, k, v = qkv(x, projections, knobs)
        wish, few = self._wish(x), knobs.score_rank
        priority = wish + bound(q, k, few).log()
        ahead = (priority[:, None, :] > priority[:, :, None]).sum(-1)
        is_full = (ahead < count(x.shape[1], knobs))[:, None, :, None]
        narrow = torch.cat((q[..., :few], torch.zeros_like(q[..., few:])), dim=-1)
        full = attention.reference(q, k, v) * _one(wish)
        return projections.output(
            torch.where(is_full, full, attention.reference(narrow, k, v)), x.shape[-1], knobs.num_kv_heads
        )

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """That of full attention, see above, and the policy."""
        policy = Cost(params=site.embed_dim + 1, flops=2 * site.embed_dim * site.tokens)
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + policy + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the queries and keys of most tokens."""
        return knobs.score_rank

    def _wish(self, x: Tensor) -> Tensor:
        wish: Tensor = self.policy(x, 1)
        return wish.squeeze(-1)


def bound(q: Tensor, k: Tensor, rank: int) -> Tensor:
    """At least what any score `q_t . k_s`, summed over heads, changes if only `rank` columns are left; `[B, T]`.

    Never zero, so that it has a logarithm.
    """
    groups = q.shape[1] // k.shape[1]
    queries, keys = q[..., rank:].norm(dim=-1), k[..., rank:].norm(dim=-1).amax(-1, keepdim=True)
    total: Tensor = (queries * keys.repeat_interleave(groups, dim=1)).sum(1)
    return total.clamp_min(SMALLEST).detach()


def count(tokens: int, knobs: Knobs) -> int:
    """Tokens of the full rank."""
    return -(-tokens // knobs.one_in)


def _one(wish: Tensor) -> Tensor:
    """Ones `[B, 1, T, 1]` through which the policy gets a slope."""
    share = wish.sigmoid()
    one: Tensor = (share / share.detach())[:, None, :, None]
    return one
