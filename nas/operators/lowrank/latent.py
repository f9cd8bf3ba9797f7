"""Latent attention: keys and values of all heads are linear in one narrow latent, and decoding keeps only that.

"DeepSeek-V2" (2024), multi-head latent attention; "MHA2MLA" (2025): leading latents are nested ranks. Positions are
added at the stem of the network; `latent_rotary` has the rotary part of the papers as well.

    c = RMSNorm(x W_down) [B,T,R];  k_h = c U^k_h, v_h = c U^v_h [B,H,T,D];  y = softmax(q k^T / sqrt D) v;  out = y W_o
    absorbed: y_h = (softmax((q_h U^k_h^T) c^T / sqrt D) c) U^v_h, which never forms k and v
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost

QO = frozenset("qo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, their width, and the width of the latent that their keys and values come from."""

    num_heads: int
    head_dim: int
    kv_rank: int


L = TypeVar("L", bound=Knobs)


class Latent(Operator[L]):
    """The latent with its maps to keys and values, and attention on both expanded or absorbed."""

    def __init__(self, choices: Sequence[L], site: Site) -> None:
        super().__init__(choices, site)
        kv_rank = max(knobs.kv_rank for knobs in choices)
        inner = max(knobs.num_heads for knobs in choices), max(knobs.head_dim for knobs in choices)
        self.down = Elastic((kv_rank,), (site.embed_dim,))
        self.norm = nn.Parameter(torch.ones(kv_rank))
        self.up_k = Elastic(inner, (kv_rank,))
        self.up_v = Elastic(inner, (kv_rank,))

    def inherit(self, projections: Projections) -> None:
        """Latents by the singular vectors of k and v side by side, the largest first ("MHA2MLA", 2025, joint SVD).

        Nothing changes where k and v have other heads, or less of them than the rank. The gains undo what the norm
        takes away on average, for inputs of unit variance.
        """
        k, v, inner = projections.k, projections.v, self.up_k.weight.shape[:2]
        if k is None or v is None or k.weight.shape[:2] != inner or v.weight.shape[:2] != inner:
            return
        rank, width = len(self.norm), self.down.weight.shape[1]
        stacked = torch.cat((k.weight, v.weight)).reshape(-1, width)
        if min(stacked.shape) < rank:
            return
        down, up, gain = factors(stacked, rank)
        up_k, up_v = up.reshape(2, *inner, rank)
        self.down.weight.copy_(down)
        self.up_k.weight.copy_(up_k)
        self.up_v.weight.copy_(up_v)
        self.norm.fill_(gain)

    def latent(self, x: Tensor, kv_rank: int) -> Tensor:
        """The normalised latents `[B, T, R]` of `[B, T, C]`, all that decoding has to keep."""
        latents: Tensor = self.down(x, kv_rank)
        return F.rms_norm(latents, (kv_rank,), self.norm[:kv_rank].to(latents.dtype))

    def expanded(self, latents: Tensor, knobs: L) -> tuple[Tensor, Tensor]:
        """k and v `[B, H, T, D]` of latents `[B, T, R]`."""
        k, v = (up(latents, knobs.num_heads, knobs.head_dim).transpose(1, 2) for up in (self.up_k, self.up_v))
        return k, v


class Mixer(Latent[Knobs]):
    """Expanded for whole sequences, absorbed for decoding.

    A smaller rank uses the first latents, and its norm sees only those.
    """

    knobs_type = Knobs
    suggested = {"kv_rank": (64, 32, 16)}
    projections = QO

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA on the expanded keys and values."""
        q, k, v = self._qkv(x, projections, knobs)
        return projections.output(attention.dense(q, k, v, is_causal=context.site.is_causal), x.shape[-1])

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax on the expanded keys and values."""
        q, k, v = self._qkv(x, projections, knobs)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        return projections.output(attention.reference(q, k, v, mask), x.shape[-1])

    def absorbed(self, q: Tensor, latents: Tensor, *, is_causal: bool = False) -> Tensor:
        """Attention of q `[B, H, T, D]` on latents `[B, S, R]` with the up maps moved to the queries and the output.

        The heads share the latents as one key and value head, which reads R numbers per token instead of 2 H D.
        """
        num_heads, head_dim, kv_rank = q.shape[1], q.shape[3], latents.shape[-1]
        corner = (slice(num_heads), slice(head_dim), slice(kv_rank))
        # the kernel divides by the square root of the width it sees
        queries = (q @ self.up_k.weight[corner]) * math.sqrt(kv_rank / head_dim)
        one_head = latents.unsqueeze(1)
        if q.shape[2] == 1:
            mixed = attention.decode(queries, one_head, one_head)
        else:
            mixed = attention.dense(queries, one_head, one_head, is_causal=is_causal)
        return mixed @ self.up_v.weight[corner].transpose(-1, -2)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One decoded token, absorbed; the state is the latents so far `[B, T, R]`."""
        latents = self.latent(x, knobs.kv_rank)
        seen = latents if state is None else torch.cat((state, latents), dim=1)
        y = self.absorbed(projections.query(x, knobs.num_heads, knobs.head_dim), seen)
        return projections.output(y, x.shape[-1]), seen

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The latents of the tokens."""
        return self.latent(x, knobs.kv_rank)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """That of the expanded form; decoding keeps the latents."""
        heads = HeadKnobs(num_heads=knobs.num_heads, num_kv_heads=knobs.num_heads, head_dim=knobs.head_dim)
        width = knobs.num_heads * knobs.head_dim
        weights = knobs.kv_rank * (site.embed_dim + 2 * width)
        inner = Cost(
            params=weights + knobs.kv_rank,
            flops=2 * weights * site.tokens + 4 * width * site.tokens**2,
            kv_cache_bytes=4 * knobs.kv_rank * site.tokens,
            pairs=site.allowed_pairs,
        )
        return projection_cost(heads, site, QO) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the latent."""
        return knobs.kv_rank

    def _qkv(self, x: Tensor, projections: Projections, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        k, v = self.expanded(self.latent(x, knobs.kv_rank), knobs)
        return projections.query(x, knobs.num_heads, knobs.head_dim), k, v


def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Maps down `[rank, C]` and up `[outputs, rank]` whose product is the best of its rank to `weight` `[outputs, C]`.

    The singular values are shared evenly, the largest first; the number is the gain that undoes a norm between them on
    average, for inputs of unit variance.
    """
    left, sizes, right = torch.linalg.svd(weight.double(), full_matrices=False)
    roots = sizes[:rank].sqrt()
    return roots[:, None] * right[:rank], left[:, :rank] * roots, float(sizes[:rank].mean().sqrt())
