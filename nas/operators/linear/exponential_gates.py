"""A matrix memory with a forget gate and an exponential input gate per head.

mLSTM of "Sample-Efficient Language Modeling with Linear Attention and Lightweight Enhancements" (BLaLM, 2025), after
"xLSTM" (2024), whose soft cap of the input gate replaces the running maximum: both give one output.

    log f_t = logsigmoid(x_t w_f + b_f), i_t = 15 tanh((x_t w_i + b_i) / 15) [Hkv]
    S_t = f_t S_{t-1} + e^{i_t} k_t^T v_t / sqrt D, n_t likewise with k_t alone
    o_t = q_t S_t / max(|q_t . n_t|, 1);  out = (rmsnorm per head(o) * sigmoid(x W_g)) W_o, W_g [C,H]
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

CAP = 15.0


class Mixer(Operator[HeadKnobs]):
    """A chunked scan whose decay changes with the token."""

    knobs_type = HeadKnobs
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[HeadKnobs], site: Site) -> None:
        super().__init__(choices, site)
        kv = max(one.num_kv_heads for one in choices)
        self.forget = Elastic((kv,), (site.embed_dim,), bias=True)
        self.input = Elastic((kv,), (site.embed_dim,), bias=True)
        self.gate = Elastic((max(one.num_heads for one in choices),), (site.embed_dim,))
        with torch.no_grad():
            if self.forget.bias is not None:
                self.forget.bias.fill_(4.0)  # begins by remembering

    def forward(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """One scan; a value of ones carries n."""
        q, k, values, decay = self._parts(x, projections, knobs)
        rates = repeat_heads(decay.unsqueeze(-1), knobs.num_heads).squeeze(-1)
        y = scan.linear_attention(q, k, values, is_causal=True, log_decay=rates, chunk_size=CHUNK_SIZE)
        return self._finish(y, x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """Token by token, with the running maximum."""
        q, k, v = (repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        forget, entered = (repeat_heads(g.unsqueeze(-1), knobs.num_heads) for g in self._gates(x, knobs))
        state, total, most, rows = torch.zeros_like(k[:, :, 0, :, None] * v[:, :, 0, None]), k[:, :, 0] * 0.0, None, []
        for t in range(x.shape[1]):
            kept = forget[:, :, t] if most is None else forget[:, :, t] + most
            now = torch.maximum(kept, entered[:, :, t]) if most is not None else entered[:, :, t]
            keep, add = (kept - now).exp() if most is not None else 0.0 * now, (entered[:, :, t] - now).exp()
            key = k[:, :, t] / knobs.head_dim**0.5
            state = keep.unsqueeze(-1) * state + add.unsqueeze(-1) * key.unsqueeze(-1) * v[:, :, t, None]
            total, most = keep * total + add * key, now
            below = torch.maximum((q[:, :, t] * total).sum(-1, keepdim=True).abs(), (-now).exp())
            rows.append((q[:, :, t, None] @ state).squeeze(-2) / below)
        return self._normed(torch.stack(rows, dim=2), x, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token; the state is S and n side by side, `[B, Hkv, 1, D, D + 1]`."""
        q, k, values, decay = self._parts(x, projections, knobs)
        before = None if state is None else scan.State(state, torch.zeros_like(k))
        y, after = decode(q, k, values, before, log_decay=decay[:, :, 0])
        return self._finish(y, x, projections, knobs), after.matrix

    def prefill(self, x: Tensor, projections: Projections, knobs: HeadKnobs, context: Context) -> Tensor:
        """S and n in one product."""
        _, k, values, decay = self._parts(x, projections, knobs)
        return prefilled(k, values, log_decay=decay).matrix

    @classmethod
    def cost(cls, knobs: HeadKnobs, site: Site) -> Cost:
        """Linear in the tokens; every allowed pair is mixed through the state."""
        gates = 2 * knobs.num_kv_heads + knobs.num_heads
        wide = HeadKnobs(num_heads=knobs.num_heads, num_kv_heads=knobs.num_kv_heads, head_dim=knobs.head_dim + 1)
        flops = scan_flops(wide, site.tokens, knobs.head_dim, is_causal=True, decayed=True)
        inner = Cost(
            params=gates * site.embed_dim + 2 * knobs.num_kv_heads,
            flops=flops + 2 * site.tokens * gates * site.embed_dim,
            kv_cache_bytes=4 * knobs.num_kv_heads * knobs.head_dim * (knobs.head_dim + 1),
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: HeadKnobs, site: Site) -> int:
        """The head width, the width of the memory."""
        return knobs.head_dim

    def _gates(self, x: Tensor, knobs: HeadKnobs) -> tuple[Tensor, Tensor]:
        """Logarithms of both gates `[B, Hkv, T]`."""
        forget, entered = (gate(x, knobs.num_kv_heads).transpose(1, 2) for gate in (self.forget, self.input))
        return F.logsigmoid(forget), CAP * torch.tanh(entered / CAP)

    def _parts(self, x: Tensor, projections: Projections, knobs: HeadKnobs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v = qkv(x, projections, knobs)
        forget, entered = self._gates(x, knobs)
        weighted = k * entered.exp().unsqueeze(-1) / knobs.head_dim**0.5
        return q, weighted, F.pad(v, (0, 1), value=1.0), forget

    def _finish(self, y: Tensor, x: Tensor, projections: Projections, knobs: HeadKnobs) -> Tensor:
        return self._normed(y[..., :-1] / y[..., -1:].abs().clamp_min(1.0), x, projections, knobs)

    def _normed(self, y: Tensor, x: Tensor, projections: Projections, knobs: HeadKnobs) -> Tensor:
        gate = by_group(self.gate(x, knobs.num_heads).sigmoid(), knobs.num_kv_heads, dim=2)
        gate = gate.transpose(1, 2).unsqueeze(-1)
        return projections.output(gated_norm(y, gate), x.shape[-1], knobs.num_kv_heads)
