"""Softmax attention whose queries have a temperature of their own, and whose values can be silenced.

"Selective Attention: Enhancing Transformer through Principled Context Control" (2024); with one map of the token in
place of an MLP that layers share.

    tau_t = 1 + tanh(x_t w_q) + beta log n_t, n_t keys that t sees, beta [H];  s_t = 1 + tanh(x_t w_v)
    y = softmax(tau q k^T / sqrt D) (s v), s = 1 where `scope` is query;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, by_group
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, of_heads, projection_cost, qkv

Scope = Literal["query", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and whether values have a factor, too."""

    scope: Scope

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.scope not in get_args(Scope):
            raise ArchError(f"scope must be one of {', '.join(get_args(Scope))}; got {self.scope!r}: change it")


class Mixer(Operator[Knobs]):
    """Scales queries and values before the fused kernel: as fast as softmax but for two small maps."""

    knobs_type = Knobs
    suggested = {"scope": get_args(Scope)}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(one.num_heads for one in choices)
        self.query_scale, self.beta = Elastic((heads,), (site.embed_dim,)), nn.Parameter(torch.zeros(heads))
        both = [one.num_kv_heads for one in choices if one.scope == "both"]
        self.value_scale = Elastic((max(both),), (site.embed_dim,)) if both else None
        with torch.no_grad():  # starts as softmax attention
            for scale in (self.query_scale, self.value_scale):
                if scale is not None:
                    scale.weight.zero_()

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA."""
        q, k, v = self._scaled(x, projections, knobs, context.site)
        return projections.output(
            attention.dense(q, k, v, is_causal=context.site.is_causal), x.shape[-1], knobs.num_kv_heads
        )

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax, one query after the other."""
        q, k, v = qkv(x, projections, knobs)
        k, v = (attention.repeat_heads(part, knobs.num_heads) for part in (k, v * self._values(x, knobs)))
        rows = []
        for t in range(x.shape[1]):
            seen = t + 1 if context.site.is_causal else x.shape[1]
            tau = 1 + by_group(self.query_scale(x[:, t], knobs.num_heads), knobs.num_kv_heads, dim=1).tanh()
            tau = tau + of_heads(self.beta, knobs) * torch.tensor(float(seen), dtype=x.dtype).log()
            scores = tau.unsqueeze(-1) * torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, :seen]) / knobs.head_dim**0.5
            rows.append(torch.einsum("bhs,bhsd->bhd", scores.softmax(-1), v[:, :, :seen]))
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and scaled v of all tokens so far."""
        before = 0 if state is None else state[0].shape[2]
        q, k, v = self._scaled(x, projections, knobs, context.site, before)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and scaled v of the tokens."""
        _, k, v = self._scaled(x, projections, knobs, context.site)
        return k.contiguous(), v.contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every allowed pair, and a number per token and head."""
        scales = site.embed_dim * (knobs.num_heads + (knobs.num_kv_heads if knobs.scope == "both" else 0))
        inner = Cost(
            params=scales + knobs.num_heads,
            flops=2 * site.tokens * scales + 4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _scaled(
        self, x: Tensor, projections: Projections, knobs: Knobs, site: Site, before: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv(x, projections, knobs)
        places = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype) + before
        seen = places if site.is_causal else torch.full_like(places, x.shape[1])
        tau = (
            1
            + by_group(self.query_scale(x, knobs.num_heads), knobs.num_kv_heads, dim=2).tanh()
            + seen.log()[:, None] * of_heads(self.beta, knobs)
        )
        return q * tau.transpose(1, 2).unsqueeze(-1), k, v * self._values(x, knobs)

    def _values(self, x: Tensor, knobs: Knobs) -> Tensor:
        """Factors of the values `[B, Hkv, T, 1]`."""
        if knobs.scope == "query" or self.value_scale is None:
            return x.new_ones(())
        scale: Tensor = self.value_scale(x, knobs.num_kv_heads)
        return (1 + scale.tanh()).transpose(1, 2).unsqueeze(-1)
