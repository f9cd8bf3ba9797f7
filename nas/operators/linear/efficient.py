"""Attention through a summary of the context: queries are normalised over channels, keys over tokens.

"Efficient Attention: Attention with Linear Complexities" (2018).

    rho_q = softmax of q over D;  rho_k = softmax of k over the T tokens;  y = rho_q(q) (rho_k(k)^T v);  out = y W_o
"""

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.kernels.attention import repeat_heads
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv


class Mixer(Operator[HeadKnobs]):
    """Two products of the state's size; keys are normalised over all tokens, so there is no causal form."""

    knobs_type = HeadKnobs
    domains = frozenset(("image", "sequence"))

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """Context first."""
        q, k, v = qkv(x, projections, knobs)
        summary = k.softmax(2).transpose(-1, -2) @ v
        return projections.output(
            q.softmax(-1) @ repeat_heads(summary, knobs.num_heads), x.shape[-1], knobs.num_kv_heads
        )

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """The T x T weights first."""
        q, k, v = (repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        weights = torch.einsum("bhtd,bhsd->bhts", q.softmax(-1), k.softmax(2))
        return projections.output(weights @ v, x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """Linear in the tokens; every pair is mixed through the summary."""
        square = knobs.head_dim**2
        inner = Cost(
            flops=2 * site.tokens * square * (knobs.num_heads + knobs.num_kv_heads),
            kv_cache_bytes=4 * knobs.num_kv_heads * square,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim
