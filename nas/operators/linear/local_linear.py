"""Local linear attention: each query fits an affine map from keys to values, weighted by softmax, and reads it there.

"Local Linear Attention: An Optimal Interpolation of Linear and Softmax Attention For Test-Time Regression" (2025), the
ridge relative to normalised weights, so that it does not grow with the number of keys.

    p_ij = softmax over j <= i (q_i k_j / sqrt D);  z_ij = k_j - q_i;  m_i = sum_j p z;  S_i = sum_j p z z^T + lambda I
    r_i from S_i r = m_i by conjugate gradients;  y_i = sum_j p_ij (1 - z_ij r_i) v_j / (1 - m_i r_i);  out = y W_o
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.kernels.attention import repeat_heads
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

START, TINY = 8.0, 1e-12
"""A ridge that starts near softmax attention; below that a residual is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and iterations of the solver, exact from the head width on."""

    iterations: int


class Mixer(Operator[Knobs]):
    """Two products of all pairs per iteration: several times slower than softmax, between it and linear regression."""

    knobs_type = Knobs
    suggested = {"iterations": (4, 2)}
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.ridge = nn.Parameter(torch.full((max(one.num_heads for one in choices),), START))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Products with the matrix S never make it."""
        q, k, v = qkv(x, projections, knobs)
        return projections.output(self._attend(q, k, v, knobs), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """S of each query."""
        q, k, v = qkv(x, projections, knobs)
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        ridge = F.softplus(of_heads(self.ridge, knobs))[:, None, None] * torch.eye(knobs.head_dim, dtype=x.dtype)
        rows = []
        for i in range(x.shape[1]):
            p = (k[:, :, : i + 1] @ q[:, :, i, :, None]).squeeze(-1).div(knobs.head_dim**0.5).softmax(-1)
            z = k[:, :, : i + 1] - q[:, :, i, None]
            matrix = (p[..., None] * z).mT @ z + ridge
            mean = (p[..., None] * z).sum(2)
            r = solved(partial(_times, matrix), mean, knobs.iterations)
            weights = p * (1 - (z @ r[..., None]).squeeze(-1)) / (1 - (mean * r).sum(-1, keepdim=True))
            rows.append((weights[..., None] * v[:, :, : i + 1]).sum(2))
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, cache=state)
        return projections.output(self._attend(q, k, v, knobs), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Four products of all pairs, and two per iteration."""
        inner = Cost(
            params=knobs.num_heads,
            flops=2 * (4 + 2 * knobs.iterations) * knobs.num_heads * knobs.head_dim * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, knobs: Knobs) -> Tensor:
        """The last queries `[B, H, Q, D]` on S keys."""
        k, v = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads)
        ridge = F.softplus(of_heads(self.ridge, knobs))[:, None, None]
        hidden = q.new_ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(k.shape[2] - q.shape[2] + 1)
        scores = q @ k.transpose(-1, -2) / knobs.head_dim**0.5
        p = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        mean = p @ k - q

        def along(y: Tensor) -> Tensor:
            """z y for every pair."""
            pairs: Tensor = y @ k.transpose(-1, -2) - (q * y).sum(-1, keepdim=True)
            return pairs

        def times(y: Tensor) -> Tensor:
            """S y for every query."""
            weighted = p * along(y)
            image: Tensor = weighted @ k - weighted.sum(-1, keepdim=True) * q + ridge * y
            return image

        r = solved(times, mean, knobs.iterations)
        y: Tensor = (p * (1 - along(r))) @ v / (1 - (mean * r).sum(-1, keepdim=True))
        return y


def solved(times: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """Conjugate gradients from zero for positive definite systems along the last axis; `times` multiplies by them."""
    found, residual, direction = torch.zeros_like(right), right, right
    square = (residual * residual).sum(-1, keepdim=True)
    for _ in range(iterations):
        image = times(direction)
        pace = square / ((direction * image).sum(-1, keepdim=True) + TINY)
        found, residual = found + pace * direction, residual - pace * image
        after = (residual * residual).sum(-1, keepdim=True)
        direction, square = residual + after / (square + TINY) * direction, after
    return found


def _times(matrix: Tensor, y: Tensor) -> Tensor:
    return (matrix @ y.unsqueeze(-1)).squeeze(-1)
