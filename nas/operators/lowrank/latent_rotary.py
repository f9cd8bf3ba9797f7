"""Latent attention as in large models: queries from a latent of their own, and positions in a part beside the latent.

"DeepSeek-V2" (2024) and "Youtu-LLM" (2025), multi-head latent attention with a decoupled rotary part. The key's rotary
part is one for all heads, and pair i turns at the rate 10000^(-i/32) at any number of pairs, so that fewer pairs are a
leading corner: the fastest ones. It pays in what decoding keeps; whole sequences take longer than softmax attention.

    c_q = RMSNorm(x W_qa) [B,T,Q];  q_n = c_q W_qn [B,H,T,D], q_r = rope(c_q W_qr) [B,H,T,2P]
    c = RMSNorm(x W_down) [B,T,R];  k_h = c U^k_h, v_h = c U^v_h;  k_r = rope(x W_kr) [B,T,2P]
    y = softmax((q_n k^T + q_r k_r^T) / sqrt(D + 2P)) v;  out = y W_o;  decoding keeps c and k_r
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.kernels import attention
from nas.operators.contract import Context, Cost, HeadKnobs, Site, projection_cost
from nas.operators.lowrank import latent
from nas.operators.lowrank.latent import Latent
from nas.operators.rotary import rates, turned

OUT = frozenset("o")
State = tuple[Tensor, Tensor]
"""Latents `[B, T, R]` and the keys' rotary part `[B, T, 2P]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(latent.Knobs):
    """Beside those of latent attention the width of the queries' latent and the pairs of columns that turn."""

    query_rank: int
    rotary_pairs: int


class Mixer(Latent[Knobs]):
    """Expanded for whole sequences, absorbed for decoding; ranks, pairs and heads are leading corners."""

    knobs_type = Knobs
    suggested = {"kv_rank": (64, 32, 16), "query_rank": (64, 32), "rotary_pairs": (8, 4)}
    domains = frozenset(("sequence", "causal"))
    projections = OUT

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        rank, pairs = max(knobs.query_rank for knobs in choices), max(knobs.rotary_pairs for knobs in choices)
        heads, width = self.up_k.weight.shape[:2]
        self.down_q = Elastic((rank,), (site.embed_dim,))
        self.norm_q = nn.Parameter(torch.ones(rank))
        self.up_q = Elastic((heads, width), (rank,))
        self.turn_q = Elastic((heads, pairs, 2), (rank,))
        self.turn_k = Elastic((pairs, 2), (site.embed_dim,))

    def inherit(self, projections: Projections) -> None:
        """Latents by singular vectors; queries, too, and their rotary part starts silent, as the source had none."""
        super().inherit(projections)
        q, rank = projections.q, len(self.norm_q)
        if q is None or q.weight.shape[:2] != self.up_q.weight.shape[:2]:
            return
        stacked = q.weight.flatten(0, 1)
        if min(stacked.shape) < rank:
            return
        down, up, gain = latent.factors(stacked, rank)
        self.down_q.weight.copy_(down)
        self.up_q.weight.copy_(up.reshape(self.up_q.weight.shape))
        self.norm_q.fill_(gain)
        self.turn_q.weight.zero_()

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on the expanded keys and values beside the rotary parts."""
        q, turning_q, turning_k = self._turned(x, knobs, first=0)
        k, v = self.expanded(self.latent(x, knobs.kv_rank), knobs)
        queries = torch.cat((q, turning_q), dim=-1)
        keys = torch.cat((k, turning_k.unsqueeze(1).expand(-1, knobs.num_heads, -1, -1)), dim=-1)
        y = attention.dense(queries, keys, v, is_causal=context.site.is_causal)
        return projections.output(y, x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; the rotary scores by the distance of two tokens, as complex numbers."""
        compressed = self._compressed(x, knobs)
        q = self.up_q(compressed, knobs.num_heads, knobs.head_dim).transpose(1, 2)
        k, v = self.expanded(self.latent(x, knobs.kv_rank), knobs)
        turning_q = torch.view_as_complex(self.turn_q(compressed, knobs.num_heads, knobs.rotary_pairs, 2))
        turning_k = torch.view_as_complex(self.turn_k(x, knobs.rotary_pairs, 2))
        places = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        angles = (places[:, None] - places)[..., None] * rates(knobs.rotary_pairs, x)
        turns = torch.polar(torch.ones_like(angles), angles)
        rotary = torch.einsum("bthp,bsp,tsp->bhts", turning_q, turning_k.conj(), turns).real
        scores = (q @ k.transpose(-1, -2) + rotary) / math.sqrt(knobs.head_dim + 2 * knobs.rotary_pairs)
        if context.site.is_causal:
            scores = scores.masked_fill(places[:, None] < places, -torch.inf)
        return projections.output(scores.softmax(-1) @ v, x.shape[-1])

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token, absorbed: all heads share the latents beside the rotary part as one key head."""
        first = 0 if state is None else state[0].shape[1]
        q, turning_q, turning_k = self._turned(x, knobs, first=first)
        latents = self.latent(x, knobs.kv_rank)
        if state is not None:
            latents, turning_k = torch.cat((state[0], latents), dim=1), torch.cat((state[1], turning_k), dim=1)
        corner = (slice(knobs.num_heads), slice(knobs.head_dim), slice(knobs.kv_rank))
        queries = torch.cat((q @ self.up_k.weight[corner], turning_q), dim=-1)
        # the kernel divides by the square root of the width it sees
        queries = queries * math.sqrt(queries.shape[-1] / (knobs.head_dim + 2 * knobs.rotary_pairs))
        keys = torch.cat((latents, turning_k), dim=-1).unsqueeze(1)
        mixed = attention.decode(queries, keys, latents.unsqueeze(1))
        y = mixed @ self.up_v.weight[corner].transpose(-1, -2)
        return projections.output(y, x.shape[-1]), (latents, turning_k)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """Latents and rotary parts of the tokens."""
        return self.latent(x, knobs.kv_rank), turned(self.turn_k(x, knobs.rotary_pairs, 2), 0)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """That of the expanded form, in which values are padded to the width of keys; decoding keeps the latents."""
        heads = HeadKnobs(num_heads=knobs.num_heads, num_kv_heads=knobs.num_heads, head_dim=knobs.head_dim)
        turning, width = 2 * knobs.rotary_pairs, knobs.num_heads * knobs.head_dim
        weights = knobs.kv_rank * (site.embed_dim + 2 * width) + turning * site.embed_dim
        weights += knobs.query_rank * (site.embed_dim + width + knobs.num_heads * turning)
        inner = Cost(
            params=weights + knobs.kv_rank + knobs.query_rank,
            flops=2 * weights * site.tokens + 4 * knobs.num_heads * (knobs.head_dim + turning) * site.tokens**2,
            kv_cache_bytes=4 * (knobs.kv_rank + turning) * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(heads, site, OUT) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The narrower of the two latents."""
        return min(knobs.kv_rank, knobs.query_rank)

    def _compressed(self, x: Tensor, knobs: Knobs) -> Tensor:
        narrow: Tensor = self.down_q(x, knobs.query_rank)
        return F.rms_norm(narrow, (knobs.query_rank,), self.norm_q[: knobs.query_rank].to(narrow.dtype))

    def _turned(self, x: Tensor, knobs: Knobs, *, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Content and rotary part of the queries `[B, H, T, .]`, rotary part of the keys `[B, T, 2P]`."""
        compressed = self._compressed(x, knobs)
        q = self.up_q(compressed, knobs.num_heads, knobs.head_dim).transpose(1, 2)
        turning_q = self.turn_q(compressed, knobs.num_heads, knobs.rotary_pairs, 2).transpose(1, 2)
        return q, turned(turning_q, first), turned(self.turn_k(x, knobs.rotary_pairs, 2), first)
