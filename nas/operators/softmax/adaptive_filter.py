"""Attention as a filter: keys are noisy sightings of a decaying, turning state, weighed by how they explain a query.

"Attention as an Adaptive Filter" (2025), isotropic: six numbers per head; values decay and are not turned.

    E = exp(-mu n), n = i - j;  V = sigma^2 (1 - E^2) / (2 mu) + eta^2 E^2 + gamma^2
    r^2 = |q|^2 + E^2 |k|^2 - 2 E q_i k_j, q and k turned by their places
    robust: logit = -tau^2 (ln V + ln(1 + r^2 / (nu D V)));  gaussian: logit = -r^2 / V
    out = (softmax over j <= i (logit) E v) W_o
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
from nas.kernels.attention import repeat_heads
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, of_heads, projection_cost, qkv
from nas.operators.rotary import turned_heads

Weights = Literal["robust", "gaussian"]
STARTS = {"mu": 0.01, "sigma": 0.05, "eta": 0.5, "gamma": 1.0, "nu": 1.0, "tau": 2.5}
"""Near the slope of scaled dot products for heads of 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and how residuals become weights."""

    weights: Weights

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.weights not in get_args(Weights):
            raise ArchError(f"weights must be one of {', '.join(get_args(Weights))}; got {self.weights!r}: change it")


class Mixer(Operator[Knobs]):
    """All residuals are held at once: several times slower than the fused kernel."""

    knobs_type = Knobs
    suggested = {"weights": get_args(Weights)}
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(one.num_heads for one in choices)
        raw = torch.tensor([math.log(math.expm1(start)) for start in STARTS.values()])
        self.scales = nn.Parameter(raw.repeat(heads, 1))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Products of all pairs, the rest elementwise."""
        q, k, v = qkv(x, projections, knobs)
        y = self._attend(turned_heads(q, 0), turned_heads(k, 0), v, knobs)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Residual vectors of every pair, query by query."""
        q, k, v = qkv(x, projections, knobs)
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        q, k = turned_heads(q, 0), turned_heads(k, 0)
        mu, sigma, eta, gamma, nu, tau = self._scales(knobs)
        rows = []
        for i in range(x.shape[1]):
            age = torch.arange(i, -1, -1, device=x.device, dtype=x.dtype)[:, None]
            decay = (-mu * age).exp()
            variance = sigma**2 * (1 - decay**2) / (2 * mu) + eta**2 * decay**2 + gamma**2
            residual = ((q[:, :, i, None] - decay * k[:, :, : i + 1]) ** 2).sum(-1, keepdim=True)
            if knobs.weights == "robust":
                logits = -(tau**2) * torch.log(variance * (1 + residual / (nu * knobs.head_dim * variance)))
            else:
                logits = -residual / variance
            rows.append((logits.softmax(2) * decay * v[:, :, : i + 1]).sum(2))
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is turned keys, and values."""
        first = 0 if state is None else state[0].shape[2]
        q, k, v = qkv(x, projections, knobs)
        k = turned_heads(k, first)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        y = self._attend(turned_heads(q, first), k, v, knobs)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """Turned keys, and values."""
        _, k, v = qkv(x, projections, knobs)
        return turned_heads(k, 0).contiguous(), v.contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every pair."""
        inner = Cost(
            params=len(STARTS) * knobs.num_heads,
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _scales(self, knobs: Knobs) -> tuple[Tensor, ...]:
        """mu, sigma, eta, gamma, nu, tau, each `[H, 1, 1]`."""
        return F.softplus(of_heads(self.scales, knobs))[..., None, None].unbind(1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, knobs: Knobs) -> Tensor:
        """The last queries `[B, H, Q, D]` on S keys."""
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        mu, sigma, eta, gamma, nu, tau = self._scales(knobs)
        places = torch.arange(k.shape[2], device=q.device, dtype=q.dtype)
        age = places[k.shape[2] - q.shape[2] :, None] - places
        decay = (-mu * age.clamp_min(0)).exp()
        variance = sigma**2 * (1 - decay**2) / (2 * mu) + eta**2 * decay**2 + gamma**2
        squares = (q * q).sum(-1, keepdim=True), (k * k).sum(-1).unsqueeze(-2)
        residual = squares[0] + decay**2 * squares[1] - 2 * decay * (q @ k.transpose(-1, -2))
        if knobs.weights == "robust":
            logits = -(tau**2) * (variance + residual / (nu * knobs.head_dim)).log()
        else:
            logits = -residual / variance
        maps = logits.masked_fill(age < 0, float("-inf")).softmax(-1)
        return (maps * decay) @ v
