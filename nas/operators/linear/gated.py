"""Gated linear attention: a state whose key channels each forget at a rate that the token sets.

"PixelHacker: Image Inpainting with Structural and Semantic Consistency" (2025), after "Gated Linear Attention
Transformers with Hardware-Efficient Training" (2024).

    a_t = sigmoid(x_t W_1 W_2 + b)^(1/16) [Hkv,D];  S_t = diag(a_t) S_{t-1} + k_t^T v_t [D,D];  o_t = q_t S_t / sqrt D
    out = (rmsnorm per head(o) * silu(x W_g)) W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.kernels.attention import repeat_heads
from nas.kernels.frugal import gated_norm
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv

SLOWER, CHUNK = 16, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and the rank of the map that sets the rates."""

    gate_rank: int


class Mixer(Operator[Knobs]):
    """Chunks of sixteen tokens: inside one, decays stay above e^-11 and may divide the keys. In tokens' order only."""

    knobs_type = Knobs
    suggested = {"gate_rank": (16, 8)}
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        kv, rank = max(one.num_kv_heads for one in choices), max(one.gate_rank for one in choices)
        self.rate_down, self.rate_up = Elastic((rank,), (site.embed_dim,)), Elastic((kv, width), (rank,), bias=True)
        self.gate = Elastic((heads, width), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Inside a chunk by products, between chunks by the state."""
        q, k, v = (repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        rates = repeat_heads(self._rates(x, knobs), knobs.num_heads)
        return self._finish(_chunked(q, k, v, rates) / knobs.head_dim**0.5, x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Token by token."""
        q, k, v = (repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        rates = repeat_heads(self._rates(x, knobs), knobs.num_heads)
        state, outputs = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), []
        for t in range(x.shape[1]):
            state = rates[:, :, t, :, None].exp() * state + k[:, :, t, :, None] * v[:, :, t, None]
            outputs.append((q[:, :, t, None] @ state).squeeze(-2))
        return self._finish(torch.stack(outputs, dim=2) / knobs.head_dim**0.5, x, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is S `[B, Hkv, D, D]`."""
        q, k, v = qkv(x, projections, knobs)
        added = k.transpose(-1, -2) @ v
        after = added if state is None else self._rates(x, knobs).exp().transpose(-1, -2) * state + added
        y = q @ repeat_heads(after, knobs.num_heads) / knobs.head_dim**0.5
        return self._finish(y, x, projections, knobs), after

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """S in one product: each key decayed by all that comes after it."""
        _, k, v = qkv(x, projections, knobs)
        rates = self._rates(x, knobs)
        later = (rates.sum(2, keepdim=True) - rates.cumsum(2)).exp()
        return (k * later).transpose(-1, -2) @ v

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Linear in the tokens; every allowed pair is mixed through the state."""
        width, heads = knobs.head_dim, knobs.num_heads
        rates = knobs.gate_rank * (site.embed_dim + knobs.num_kv_heads * width)
        maps = rates + site.embed_dim * heads * width
        size = min(CHUNK, site.tokens)
        chunks = -(-site.tokens // size)
        scan = 2 * heads * chunks * (2 * size**2 * width + 2 * size * width**2)
        inner = Cost(
            params=maps + knobs.num_kv_heads * width,
            flops=2 * site.tokens * maps + scan,
            kv_cache_bytes=4 * knobs.num_kv_heads * width**2,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width, the width of the state."""
        return knobs.head_dim

    def _rates(self, x: Tensor, knobs: Knobs) -> Tensor:
        """Log decays `[B, Hkv, T, D]`, at most zero."""
        rates: Tensor = self.rate_up(self.rate_down(x, knobs.gate_rank), knobs.num_kv_heads, knobs.head_dim)
        return F.logsigmoid(rates).transpose(1, 2) / SLOWER

    def _finish(self, y: Tensor, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        gate = by_group(self.gate(x, knobs.num_heads, knobs.head_dim).transpose(1, 2), knobs.num_kv_heads, dim=1)
        return projections.output(gated_norm(y, F.silu(gate)), x.shape[-1], knobs.num_kv_heads)


def _chunked(q: Tensor, k: Tensor, v: Tensor, rates: Tensor) -> Tensor:
    """`[B, H, T, D]` without the scale."""
    tokens, size = q.shape[2], min(CHUNK, q.shape[2])
    padding = (0, 0, 0, -tokens % size)
    q, k, v, rates = (torch.unflatten(F.pad(part, padding), 2, (-1, size)) for part in (q, k, v, rates))
    inside = rates.cumsum(3)  # decay from the chunk's start to each token, its own included
    total = inside[..., -1:, :]
    reach, shrunk = q * inside.exp(), k * (-inside).exp()
    y = (reach @ shrunk.transpose(-1, -2)).tril() @ v
    added, states = (k * (total - inside).exp()).transpose(-1, -2) @ v, []
    state = torch.zeros_like(added[:, :, 0])
    for chunk in range(added.shape[2]):
        states.append(state)
        state = total[:, :, chunk].exp().transpose(-1, -2) * state + added[:, :, chunk]
    y = y + reach @ torch.stack(states, dim=2)
    return y.flatten(2, 3)[:, :, :tokens]
