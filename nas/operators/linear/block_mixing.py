"""Linear attention whose blocks of tokens each read their own mixture of all blocks' states.

"MHLA: Restoring Expressivity of Linear Attention via Token-Level Multi-Head" (2026), without the convolution beside it.

    tokens in M blocks;  S_b = sum over block b of phi(k)^T v [F,D], z_b of phi(k);  phi(x) = relu(x) + 1e-6
    S~_i = sum_b m_ib S_b, z~_i likewise, m [M,M] positive;  y = phi(q) S~_i / (phi(q) . z~_i) for q in block i
    out = y W_o;  equal m is linear attention, m of the identity linear attention inside blocks
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels.attention import repeat_heads
from nas.kernels.features import relu
from nas.operators.contract import Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, and blocks along each axis of the grid, or along a sequence."""

    blocks: int


class Mixer(Operator[Knobs]):
    """Linear in the tokens; the rank of the mixing grows with the blocks. Every number of blocks has its own m."""

    knobs_type = Knobs
    suggested = {"blocks": (4, 2)}
    domains = frozenset(("image", "sequence"))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        self.log_mix = nn.ParameterDict()
        for blocks in sorted({one.blocks for one in choices}):
            self.log_mix[str(blocks)] = nn.Parameter(-_distances(blocks, site))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """States of all blocks, their mixtures, and what the queries read of them."""
        site, blocks = context.site, knobs.blocks
        q, k, v = qkv(x, projections, knobs)
        q, k, v = (_split(part, blocks, site) for part in (relu(q), relu(k), F.pad(v, (0, 1), value=1.0)))
        states = k.transpose(-1, -2) @ v  # keys beyond the edges are zero
        mixed = (self._mix(knobs) @ states.flatten(-2)).view(states.shape)
        own = repeat_heads(mixed.flatten(2), knobs.num_heads).view(*q.shape[:3], *mixed.shape[3:])
        read = _join(q @ own, blocks, site)
        return projections.output(read[..., :-1] / read[..., -1:], x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The T x T weights, each pair's by the blocks it is in."""
        q, k, v = (repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        at = _membership(knobs.blocks, context.site)
        weights = (relu(q) @ relu(k).transpose(-1, -2)) * self._mix(knobs)[at][:, at]
        return projections.output(weights @ v / weights.sum(-1, keepdim=True), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Whole blocks, those over the edge filled up; every pair is mixed through the states."""
        width, count = knobs.head_dim, len(_centres(knobs.blocks, site))
        length = count * _length(knobs.blocks, site)
        state = width * (width + 1)
        inner = Cost(
            params=count**2,
            flops=2 * state * (length * (knobs.num_heads + knobs.num_kv_heads) + count**2 * knobs.num_kv_heads),
            kv_cache_bytes=4 * knobs.num_kv_heads * count * state,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width for every block, up to the tokens."""
        return min(site.tokens, len(_centres(knobs.blocks, site)) * knobs.head_dim)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """No more blocks than tokens along an axis."""
        least = min(_edges(site))
        if knobs.blocks > least:
            raise ArchError(f"blocks must be at most {least} here, the tokens along an axis; got {knobs.blocks}")

    def _mix(self, knobs: Knobs) -> Tensor:
        mix: Tensor = self.log_mix[str(knobs.blocks)]
        return mix.exp()


def _edges(site: Site) -> tuple[int, ...]:
    if site.domain != "image":
        return (site.tokens,)
    if site.grid is None:
        raise ArchError(f"block_mixing on an image needs a grid of {site.tokens} tokens, got None")
    return site.grid


def _sizes(blocks: int, site: Site) -> list[int]:
    return [-(-edge // blocks) for edge in _edges(site)]


def _counts(blocks: int, site: Site) -> list[int]:
    """Blocks along each axis that hold a token."""
    return [-(-edge // size) for edge, size in zip(_edges(site), _sizes(blocks, site), strict=True)]


def _length(blocks: int, site: Site) -> int:
    return math.prod(_sizes(blocks, site))


def _centres(blocks: int, site: Site) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, _counts(blocks, site))))


def _distances(blocks: int, site: Site) -> Tensor:
    centres = torch.tensor(_centres(blocks, site), dtype=torch.get_default_dtype())
    return torch.cdist(centres, centres)


def _membership(blocks: int, site: Site) -> Tensor:
    """The block of every token `[T]`."""
    edges, sizes, counts = _edges(site), _sizes(blocks, site), _counts(blocks, site)
    own = [torch.arange(edge) // size for edge, size in zip(edges, sizes, strict=True)]
    return own[0] if len(own) == 1 else (own[0][:, None] * counts[1] + own[1]).flatten()


def _split(x: Tensor, blocks: int, site: Site) -> Tensor:
    """`[B, H, T, D]` to `[B, H, M, tokens of a block, D]`, zeros beyond the edges."""
    edges, sizes, counts = _edges(site), _sizes(blocks, site), _counts(blocks, site)
    wanted = [size * count - edge for edge, size, count in zip(edges, sizes, counts, strict=True)]
    if len(edges) == 1:
        return F.pad(x, (0, 0, 0, wanted[0])).view(*x.shape[:2], counts[0], sizes[0], x.shape[-1])
    image = F.pad(x.reshape(*x.shape[:2], *edges, x.shape[-1]), (0, 0, 0, wanted[1], 0, wanted[0]))
    tiles = image.view(*x.shape[:2], counts[0], sizes[0], counts[1], sizes[1], x.shape[-1]).transpose(3, 4)
    return tiles.reshape(*x.shape[:2], counts[0] * counts[1], sizes[0] * sizes[1], x.shape[-1])


def _join(y: Tensor, blocks: int, site: Site) -> Tensor:
    """Back to `[B, H, T, D]`."""
    edges, sizes, counts = _edges(site), _sizes(blocks, site), _counts(blocks, site)
    if len(edges) == 1:
        return y.flatten(2, 3)[:, :, : edges[0]]
    tiles = y.view(*y.shape[:2], counts[0], counts[1], sizes[0], sizes[1], y.shape[-1]).transpose(3, 4)
    image = tiles.reshape(*y.shape[:2], counts[0] * sizes[0], counts[1] * sizes[1], y.shape[-1])
    return image[:, :, : edges[0], : edges[1]].flatten(2, 3)
