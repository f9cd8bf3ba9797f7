"""Attention weights that are normalised to a mean and a spread over the keys in place of a softmax.

"Normalized Attention Without Probability Cage" (2020), with the variance's floor inside the root.

    l = q k^T [B,H,T,T];  a_ts = g_h (l_ts - mean_s l_t) / sqrt(var_s l_t + eps) + b_h over the n_t keys that t sees
    out = gelu(norm(a v)) W_o, norm over all heads

Mean and variance of a row are products of the query with sums over keys, sum_s k_s and sum_s k_s k_s^T, and so is a v:
nothing of the size T x T is needed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.kernels import scan
from nas.kernels.attention import repeat_heads
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, of_heads, projection_cost, qkv
from nas.operators.recurrence import CHUNK_SIZE, decode, prefilled, scan_flops

EPS = 1e-3


class State(NamedTuple):
    """Sums over the tokens so far: k^T [v, k] `[B, Hkv, 1, D, 2D]`, k `[B, Hkv, 1, D]`, v `[B, Hkv, 1, D]`, and how
    many they are `[1]`."""

    products: Tensor
    keys: Tensor
    values: Tensor
    tokens: Tensor


class Mixer(Operator[HeadKnobs]):
    """Linear in the tokens by that identity, with weights of either sign."""

    knobs_type = HeadKnobs

    def __init__(self, choices: Sequence[HeadKnobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), max(one.head_dim for one in choices)
        self.gain, self.offset = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.zeros(heads))
        self.norm, self.shift = nn.Parameter(torch.ones(heads, width)), nn.Parameter(torch.zeros(heads, width))

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """A scan over sums if causal, else two products."""
        (q, k, v), is_causal = qkv(x, projections, knobs), context.site.is_causal
        both = scan.linear_attention(q, k, torch.cat((v, k), dim=-1), is_causal=is_causal, chunk_size=CHUNK_SIZE)
        keys, values = ((part.cumsum(2) if is_causal else part.sum(2, keepdim=True)) for part in (k, v))
        places = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
        seen = (places if is_causal else torch.full_like(places, x.shape[1])).unsqueeze(-1)
        return self._normed(self._weighed(q, both, keys, values, seen, knobs), x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """Row by row."""
        q, k, v = qkv(x, projections, knobs)
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        gain, offset = (of_heads(part, knobs).unsqueeze(1) for part in (self.gain, self.offset))
        rows = []
        for t in range(x.shape[1]):
            seen = t + 1 if context.site.is_causal else x.shape[1]
            scores = torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, :seen])
            spread = (scores.var(-1, correction=0, keepdim=True) + EPS**2).sqrt()
            weights = gain * (scores - scores.mean(-1, keepdim=True)) / spread
            rows.append(torch.einsum("bhs,bhsd->bhd", weights + offset, v[:, :, :seen]))
        return self._normed(torch.stack(rows, dim=2), x, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token; the state has one size whatever came before."""
        q, k, v = qkv(x, projections, knobs)
        before = None if state is None else scan.State(state.products, state.keys)
        both, (products, keys) = decode(q, k, torch.cat((v, k), dim=-1), before)
        values = v if state is None else state.values + v
        count = x.new_ones(1) if state is None else state.tokens + 1
        y = self._weighed(q, both, keys, values, count.view(1, 1), knobs)
        return self._normed(y, x, projections, knobs), State(products, keys, values, count)

    def prefill(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> State:
        """The sums over all tokens."""
        _, k, v = qkv(x, projections, knobs)
        products, keys = prefilled(k, torch.cat((v, k), dim=-1))
        return State(products, keys, v.sum(2, keepdim=True), x.new_full((1,), float(x.shape[1])))

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """A scan with values twice as wide; every allowed pair is mixed through its sums."""
        wide = HeadKnobs(num_heads=knobs.num_heads, num_kv_heads=knobs.num_kv_heads, head_dim=2 * knobs.head_dim)
        width, heads = knobs.head_dim, knobs.num_heads
        inner = Cost(
            params=2 * heads * (1 + width),
            flops=scan_flops(wide, site.tokens, width, is_causal=site.is_causal),
            kv_cache_bytes=4 * (knobs.num_kv_heads * (2 * width**2 + 2 * width) + 1),
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width; the offset adds one."""
        return knobs.head_dim

    def _weighed(self, q: Tensor, both: Tensor, keys: Tensor, values: Tensor, seen: Tensor, knobs: HeadKnobs) -> Tensor:
        heads, width = q.shape[1], q.shape[-1]
        keys, values = repeat_heads(keys, heads), repeat_heads(values, heads)
        mean = (q * keys).sum(-1, keepdim=True) / seen
        squares = (q * both[..., width:]).sum(-1, keepdim=True) / seen
        spread = ((squares - mean**2).clamp_min(0.0) + EPS**2).sqrt()
        # a single key lies at the mean; what rounding leaves of that would grow in the norm behind
        gain, offset = (of_heads(part, knobs).view(-1, 1, 1) for part in (self.gain, self.offset))
        y = gain * (seen > 1) * (both[..., :width] - mean * values) / spread
        return y + offset * values

    def _normed(self, y: Tensor, x: Tensor, projections: Projections, knobs: HeadKnobs) -> Tensor:
        heads = y.transpose(1, 2)
        gain, shift = (of_heads(part, knobs)[:, : y.shape[3]] for part in (self.norm, self.shift))
        return projections.output(
            F.gelu(F.layer_norm(heads, heads.shape[-2:], gain, shift)).transpose(1, 2), x.shape[-1], knobs.num_kv_heads
        )
