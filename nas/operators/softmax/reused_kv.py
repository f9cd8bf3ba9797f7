"""Softmax attention of own queries on the keys and values that an earlier block computed.

"Hymba: A Hybrid-head Architecture for Small Language Models" (2024), whose layers share one key/value cache in pairs.

    k, v [B,Hkv,T,D] of the nearest earlier block of the stage that published them;  q [B,Hq,T,D] from x [B,T,C]
    y = softmax(q k^T / sqrt D) v;  out = y W_o;  no W_k, no W_v, no cache of its own

Several such blocks in a row read the same k and v. The publisher may route or mask; here every pair is visible.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.elastic import Projections
from nas.kernels import attention
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, projection_cost

PARTS = frozenset("qo")


class Mixer(Operator[HeadKnobs]):
    """Full attention, causal where the site is; kv heads and head width are the publisher's."""

    knobs_type = HeadKnobs
    projections = PARTS
    consumes = KV

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """SDPA."""
        q = projections.query(x, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads)
        y = attention.dense(q, *_published(context), is_causal=context.site.is_causal)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """Explicit softmax."""
        q = projections.query(x, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return projections.output(attention.reference(q, *_published(context), mask), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context, state: Any = None
    ) -> tuple[Tensor, None]:
        """One decoded token; no state, since the publisher's step publishes its whole cache."""
        q = projections.query(x, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads)
        return projections.output(attention.decode(q, *_published(context)), x.shape[-1], knobs.num_kv_heads), None

    def prefill(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> None:
        """No state."""

    @classmethod
    def can_follow(cls, knobs: HeadKnobs, earlier: Sequence[OperatorArch]) -> bool:
        """After a publisher with as many kv heads of the same width."""
        source = operators.publisher(cls.consumes, earlier)
        return source is not None and (source["num_kv_heads"], source["head_dim"]) == (
            knobs.num_kv_heads,
            knobs.head_dim,
        )

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """As softmax without k and v projections; the cache is the publisher's."""
        flops = 4 * knobs.num_heads * knobs.head_dim * site.tokens**2
        return projection_cost(knobs, site, PARTS) + Cost(flops=flops, pairs=site.allowed_pairs)

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


def _published(context: Context) -> tuple[Tensor, Tensor]:
    return context.read("k"), context.read("v")
