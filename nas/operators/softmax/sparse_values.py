"""Few attention maps, each with many output channels, of which a token keeps only the strongest.

After "Towards Understanding the Nature of Attention with Low-Rank Sparse Decomposition" (Lorsa, 2025), whose rank-1
heads share maps in groups and are chosen among; here as a layer trained from the start, at a width that pays.

    q, k [B,H,T,D];  v [B,H,T,rD];  z = [softmax(q_h k_h^T / sqrt D) v_h for all h] [B,T,H r D]
    out = top(z) W, top keeps the `keep` entries of a token that are largest in size
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections
from nas.kernels import attention
from nas.operators.contract import Context, Cost, EqualHeadKnobs, KeyValues, Operator, Site, projection_cost

QK = frozenset("qk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(EqualHeadKnobs):
    """Maps, the width of their keys, how many times as wide their values are, and kept entries of a token."""

    value_ratio: int
    keep: int

    @property
    def channels(self) -> int:
        """Entries of a token that are chosen among."""
        return self.num_heads * self.head_dim * self.value_ratio


class Mixer(Operator[Knobs]):
    """Sparse in what it passes on, not in time: every entry is computed before the best are kept."""

    knobs_type = Knobs
    suggested = {"value_ratio": (4, 2), "keep": (64, 32, 16)}
    projections = QK

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        inner = max(one.num_heads for one in choices), max(one.head_dim * one.value_ratio for one in choices)
        self.v, self.o = Elastic(inner, (site.embed_dim,)), Elastic((site.embed_dim,), inner)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA, then the best by selection."""
        y = attention.dense(*self._qkv(x, projections, knobs), is_causal=context.site.is_causal)
        return self._output(y, x, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax, then the best by sorting."""
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        z = attention.reference(*self._qkv(x, projections, knobs), mask).transpose(1, 2)
        flat = z.flatten(2)
        least = flat.abs().sort(dim=-1, descending=True).values[..., min(knobs.keep, knobs.channels) - 1, None]
        out: Tensor = self.o((flat * (flat.abs() >= least)).view(z.shape), x.shape[-1])
        return out

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = self._qkv(x, projections, knobs)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        return self._output(attention.decode(q, k, v), x, knobs), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        _, k, v = self._qkv(x, projections, knobs)
        return k.contiguous(), v.contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Scores and sums at the width of the values, which the fused kernel pads to."""
        inner = Cost(
            params=2 * knobs.channels * site.embed_dim,
            flops=4 * knobs.channels * site.tokens * (site.tokens + site.embed_dim),
            kv_cache_bytes=4 * (knobs.num_heads * knobs.head_dim + knobs.channels) * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs.heads, site, QK) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the keys."""
        return knobs.head_dim

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        size = knobs.num_heads, knobs.head_dim
        v = self.v(x, knobs.num_heads, knobs.head_dim * knobs.value_ratio).transpose(1, 2)
        return projections.query(x, *size), projections.key(x, *size), v

    def _output(self, y: Tensor, x: Tensor, knobs: Knobs) -> Tensor:
        z = y.transpose(1, 2)
        flat = z.flatten(2)
        if knobs.keep < knobs.channels:
            best = flat.abs().topk(knobs.keep, dim=-1).indices
            flat = torch.zeros_like(flat).scatter(-1, best, flat.gather(-1, best))
        out: Tensor = self.o(flat.view(z.shape), x.shape[-1])
        return out
