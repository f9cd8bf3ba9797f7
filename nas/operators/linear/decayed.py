"""Decayed linear attention: a state that forgets at a fixed rate per head, without a softmax or a denominator.

"Various Lengths, Constant Speed: Efficient Language Modeling with Lightning Attention" (2024).

    q, k, v = silu(projections);  S_t = lam_h S_{t-1} + k_t^T v_t [D,D];  y_t = q_t S_t
    out = (SRMSNorm(heads side by side) * sigmoid(x W_down W_up)) W_o with W_down [D,C], W_up [H,D,D]
    lam_h = exp(-slope_h (1 - l / (L - 1) + 1e-5)) in block l

In a sequence read in both directions, weights decay with the distance |t - s|: a scan each way, the token itself once.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.kernels import scan
from nas.kernels.attention import repeat_heads
from nas.kernels.frugal import gated_norm
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.recurrence import CHUNK_SIZE, decode, prefilled, scan_flops

# the papers scale by the depth of the whole net, which would change a block's decay with its neighbours
NOMINAL_DEPTH = 16


def decay_slopes(num_heads: int) -> list[float]:
    """Decay slope of each head, a function of its index alone, so that leading heads keep theirs.

    The first 2^n heads have the ALiBi slopes of a model with 2^n heads, ordered from the flattest by bisection: any
    leading heads cover near and far.
    """
    return [2.0 ** (-8.0 * (1.0 - _bisection(head))) for head in range(num_heads)]


def log_decays(num_kv_heads: int, index: int) -> list[float]:
    """Natural-log decay per kv head in block `index`; later blocks forget more slowly."""
    share = 1.0 - min(index, NOMINAL_DEPTH - 1) / (NOMINAL_DEPTH - 1) + 1e-5
    return [-slope * share for slope in decay_slopes(num_kv_heads)]


class Mixer(Operator[HeadKnobs]):
    """Chunked scan with constant decay; heads that share keys and values share their state and decay."""

    knobs_type = HeadKnobs
    domains = frozenset(("sequence", "causal"))

    def __init__(self, choices: Sequence[HeadKnobs], site: Site) -> None:
        super().__init__(choices, site)
        num_heads = max(knobs.num_heads for knobs in choices)
        head_dim = max(knobs.head_dim for knobs in choices)
        self.gate_down = Elastic((head_dim,), (site.embed_dim,))
        self.gate_up = Elastic((num_heads, head_dim), (head_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """One chunked scan per direction."""
        q, k, v = _activated(x, projections, knobs)
        decay = _decay(q, knobs, context)
        y = _scan(q, k, v, decay)
        if not context.site.is_causal:
            own = (q * repeat_heads(k, knobs.num_heads)).sum(-1, keepdim=True) * repeat_heads(v, knobs.num_heads)
            y = y + _scan(q.flip(2), k.flip(2), v.flip(2), decay).flip(2) - own
        return self._finish(x, y, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """The T x T weights (q k^T) lam^|t - s|, without those of later tokens if causal."""
        q, k, v = _activated(x, projections, knobs)
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        position = torch.arange(x.shape[1], device=x.device)
        distance = (position[:, None] - position).to(x.dtype)
        decay = (_decay(q, knobs, context)[:, None, None] * distance.abs()).exp()
        weights = (q @ k.transpose(-1, -2)) * decay.to(q.dtype)
        if context.site.is_causal:
            weights = weights.tril()
        return self._finish(x, weights @ v, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is S `[B, Hkv, 1, D, D]`."""
        q, k, v = _activated(x, projections, knobs)
        before = None if state is None else scan.State(state, torch.zeros_like(k))
        y, after = decode(q, k, v, before, log_decay=_kv_decay(q, knobs, context))
        return self._finish(x, y, projections, knobs), after.matrix

    def prefill(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """S in one product."""
        q, k, v = _activated(x, projections, knobs)
        return prefilled(k, v, log_decay=_kv_decay(q, knobs, context)).matrix

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """Linear in the tokens; every allowed pair is mixed through the state."""
        gate = knobs.head_dim * (site.embed_dim + knobs.num_heads * knobs.head_dim)
        directions = 1 if site.is_causal else 2
        flops = directions * scan_flops(knobs, site.tokens, knobs.head_dim, is_causal=True, decayed=True)
        inner = Cost(
            params=gate,
            flops=flops + 2 * site.tokens * gate,
            kv_cache_bytes=4 * knobs.num_kv_heads * knobs.head_dim**2,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width, which is the width of the features."""
        return knobs.head_dim

    def _finish(self, x: Tensor, y: Tensor, projections: Projections, knobs: HeadKnobs) -> Tensor:
        """Norm over the concatenated heads, gate and output map of y `[B, H, T, D]`."""
        num_heads, head_dim = y.shape[1], y.shape[3]
        heads = y.transpose(1, 2)
        gates = self.gate_up(self.gate_down(x, head_dim), num_heads, head_dim).sigmoid()
        gated = gated_norm(heads, by_group(gates, knobs.num_kv_heads, dim=2), axes=2)
        return projections.output(gated.transpose(1, 2), x.shape[-1], knobs.num_kv_heads)


def _activated(x: Tensor, projections: Projections, knobs: HeadKnobs) -> tuple[Tensor, Tensor, Tensor]:
    # products copy what is not contiguous, and would keep both
    q, k, v = (F.silu(part).contiguous() for part in qkv(x, projections, knobs))
    return q, k, v


def _decay(q: Tensor, knobs: HeadKnobs, context: Context) -> Tensor:
    """Log decay of each query head, equal inside a group."""
    return _kv_decay(q, knobs, context).repeat_interleave(knobs.num_heads // knobs.num_kv_heads)


def _kv_decay(q: Tensor, knobs: HeadKnobs, context: Context) -> Tensor:
    values = log_decays(knobs.num_kv_heads, context.site.index)
    return torch.tensor(values, dtype=torch.promote_types(q.dtype, torch.float32), device=q.device)


def _scan(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
    return scan.linear_attention(q, k, v, is_causal=True, log_decay=decay, chunk_size=CHUNK_SIZE)


def _bisection(index: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: the binary digits of the index read backwards behind the point."""
    value, weight = 0.0, 0.5
    while index:
        value += weight * (index & 1)
        index, weight = index >> 1, weight / 2
    return value
