"""Attention by another likeness than the dot product: the angle between query and key, or their hyperbolic distance.

"CAT: Curvature-Adaptive Transformers for Geometry-Aware Learning" (2025), one geometry per layer in place of a mixture
per token, which would cost all three.

    spherical:  s = beta_h cos(q, k)
    hyperbolic: s = -beta_h d(q', k'), q' = tanh(|q| / sqrt D) q / |q| on the unit ball, likewise k',
                d(a, b) = arcosh(1 + 2 |a - b|^2 / ((1 - |a|^2)(1 - |b|^2)))
    y = softmax(s) v;  out = y W_o
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import (
    Context,
    Cost,
    HeadKnobs,
    KeyValues,
    Operator,
    Site,
    kv_state,
    of_heads,
    projection_cost,
    qkv,
)

Geometry = Literal["spherical", "hyperbolic"]
EDGE = 0.98
"""Points stay this far inside the ball, where distances are finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and where queries and keys live."""

    geometry: Geometry

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.geometry not in get_args(Geometry):
            raise ArchError(
                f"geometry must be one of {', '.join(get_args(Geometry))}; got {self.geometry!r}: change it"
            )


class Mixer(Operator[Knobs]):
    """Spherical runs on the fused kernel; hyperbolic holds all distances and is slower than softmax at every length."""

    knobs_type = Knobs
    suggested = {"geometry": get_args(Geometry)}

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.log_beta = nn.Parameter(torch.full((max(one.num_heads for one in choices),), math.log(4.0)))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on unit vectors, or a softmax of distances from products."""
        q, k, v = qkv(x, projections, knobs)
        if knobs.geometry == "spherical":
            y = attention.dense(*self._unit(q, k, knobs), v, is_causal=context.site.is_causal)
        else:
            scores = self._distances(q, k, knobs)
            if context.site.is_causal:
                scores = scores.masked_fill(~scores.new_ones(scores.shape[-2:]).tril().bool(), -torch.inf)
            y = scores.softmax(-1) @ attention.repeat_heads(v, knobs.num_heads)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Query by query, distances by differences."""
        q, k, v = qkv(x, projections, knobs)
        k, v = attention.repeat_heads(k, knobs.num_heads), attention.repeat_heads(v, knobs.num_heads)
        beta, rows = of_heads(self.log_beta, knobs).exp().unsqueeze(-1), []
        for t in range(x.shape[1]):
            seen = t + 1 if context.site.is_causal else x.shape[1]
            one, others = q[:, :, t, None], k[:, :, :seen]
            if knobs.geometry == "spherical":
                likeness = F.cosine_similarity(one, others, dim=-1)
            else:
                a, b = _in_ball(one), _in_ball(others)
                room = (1 - a.square().sum(-1)) * (1 - b.square().sum(-1))
                likeness = -torch.acosh(1 + 2 * (a - b).square().sum(-1) / room)
            rows.append(((beta * likeness).softmax(-1).unsqueeze(-2) @ v[:, :, :seen]).squeeze(-2))
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, cache=state)
        if knobs.geometry == "spherical":
            y = attention.decode(*self._unit(q, k, knobs), v)
        else:
            y = self._distances(q, k, knobs).softmax(-1) @ attention.repeat_heads(v, knobs.num_heads)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every allowed pair."""
        inner = Cost(
            params=knobs.num_heads,
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _unit(self, q: Tensor, k: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor]:
        scale = of_heads(self.log_beta, knobs)[:, None, None].exp() * math.sqrt(q.shape[-1])
        return F.normalize(q, dim=-1) * scale, F.normalize(k, dim=-1)

    def _distances(self, q: Tensor, k: Tensor, knobs: Knobs) -> Tensor:
        """-beta d of every pair `[B, H, T, S]`."""
        a, b = _in_ball(q), attention.repeat_heads(_in_ball(k), q.shape[1])
        own, other = a.square().sum(-1, keepdim=True), b.square().sum(-1).unsqueeze(-2)
        squares = (own + other - 2 * a @ b.transpose(-1, -2)).clamp_min(1e-12)
        distance: Tensor = torch.acosh(1 + 2 * squares / ((1 - own) * (1 - other)))
        return -of_heads(self.log_beta, knobs)[:, None, None].exp() * distance


def _in_ball(x: Tensor) -> Tensor:
    """The exponential map at the origin of the unit ball, kept off its edge."""
    norm: Tensor = x.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return EDGE * torch.tanh(norm / math.sqrt(x.shape[-1])) * x / norm
