"""Softmax attention: MHA, GQA, MQA and reduced query heads (SQA) by knobs alone.

"Attention Is All You Need" (2017); "GQA" (2023); "Sparse Query Attention" (2025): num_heads below C / head_dim.

    q [B,Hq,T,D], k, v [B,Hkv,T,D] from x [B,T,C];  y = softmax(q k^T / sqrt D) v;  out = y W_o
"""

from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention
from nas.operators.contract import (
    KV,
    Context,
    Cost,
    HeadKnobs,
    KeyValues,
    Operator,
    Site,
    kv_state,
    projection_cost,
    qkv,
)


class Mixer(Operator[HeadKnobs]):
    """Full attention, causal where the site is."""

    knobs_type = HeadKnobs
    publishes = KV

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """SDPA."""
        q, k, v = qkv(x, projections, knobs, context)
        y = attention.dense(q, k, v, is_causal=context.site.is_causal)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """Explicit softmax."""
        q, k, v = qkv(x, projections, knobs, context)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return projections.output(attention.reference(q, k, v, mask), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """Every allowed pair; scores are computed for all T^2 pairs."""
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim
