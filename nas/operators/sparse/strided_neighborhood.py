"""Attention to a window per axis whose place is shared by groups of queries, with holes if dilated.

"Generalized Neighborhood Attention: Multi-dimensional Sparse Attention at the Speed of Light" (2025); with stride and
dilation 1 that of "Faster Neighborhood Attention" (2024), with a stride as long as the window blocked attention.

    per axis of length L, in each residue class modulo the dilation: leader g = min(i // s s + s // 2, L - 1)
    keys from max(g - w // 2, 0), moved inwards at the end, w of them; visible iff visible on every axis
    causal: leader i // s * s + s - 1, keys from max(g - w + 1, 0) to i
    y = softmax(q k^T / sqrt D over visible keys) v;  out = y W_o
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility, tile_order
from nas.operators import contract
from nas.operators.contract import Context, HeadKnobs, KeyValues, Site, kv_state, qkv
from nas.operators.pattern import Patterned, build

BLOCK = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads; edge of the window, queries per axis that share one, and the step between its keys."""

    window_size: int
    stride: int
    dilation: int

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.stride > self.window_size:
            raise ArchError(f"stride must be at most window_size ({self.window_size}), got {self.stride}: lower it")


class Mixer(Patterned[Knobs]):
    """Queries that share a window fill blocks better: at equal window, a longer stride is faster."""

    knobs_type = Knobs
    suggested = {"window_size": (16, 8), "stride": (8, 4, 1), "dilation": (1, 2)}

    @classmethod
    def pattern(cls, knobs: Knobs, site: Site, tokens: int) -> Visibility:
        """Tiles of the grid, or runs of the sequence."""
        return _pattern(_edges(site, tokens), _rule(knobs), site.is_causal)

    @classmethod
    def mask(cls, knobs: Knobs, site: Site, tokens: int) -> Tensor:
        """Every axis as a table."""
        tables = [_table(edge, _rule(knobs), is_causal=site.is_causal) for edge in _edges(site, tokens)]
        if len(tables) == 1:
            return tables[0]
        return (tables[0][:, None, :, None] & tables[1][None, :, None, :]).reshape(tokens, tokens)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Images need a grid."""
        _edges(site, site.tokens)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token, which reads its window; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        seen = torch.tensor(_causal_keys(k.shape[2] - 1, _rule(knobs)), device=x.device)
        y = attention.decode(q, k.index_select(2, seen), v.index_select(2, seen))
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)


Rule = tuple[int, int, int]


def _rule(knobs: Knobs) -> Rule:
    return knobs.window_size, knobs.stride, knobs.dilation


def _edges(site: Site, tokens: int) -> tuple[int, ...]:
    if site.domain != "image":
        return (tokens,)
    if site.grid is None:
        raise ArchError(f"strided_neighborhood on an image needs a grid of {site.tokens} tokens, got None")
    return site.grid


def _table(length: int, rule: Rule, *, is_causal: bool) -> Tensor:
    """Query by query, as the paper states it."""
    window, stride, dilation = rule
    table = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        if is_causal:
            table[query, _causal_keys(query, rule)] = True
            continue
        own, size = query // dilation, -(-(length - query % dilation) // dilation)
        width = min(window, size)
        leader = min(own // stride * stride + stride // 2, size - 1)
        start = min(max(leader - width // 2, 0), size - width)
        for key in range(start, start + width):
            table[query, key * dilation + query % dilation] = True
    return table


def _causal_keys(query: int, rule: Rule) -> list[int]:
    window, stride, dilation = rule
    own = query // dilation
    start = max(own // stride * stride + stride - window, 0)
    return [key * dilation + query % dilation for key in range(min(start, own), own + 1)]


@lru_cache(maxsize=64)
def _pattern(edges: tuple[int, ...], rule: Rule, is_causal: bool) -> Visibility:
    window, stride, dilation = rule

    def is_near(query: Tensor, key: Tensor, length: int) -> Tensor:
        own, other = query // dilation, key // dilation
        if is_causal:
            start = (own // stride * stride + stride - window).clamp(min=0)
            near = (other >= torch.minimum(start, own)) & (other <= own)
        else:
            size = (length - query % dilation + dilation - 1) // dilation
            width = size.clamp(max=window)
            leader = torch.minimum(own // stride * stride + stride // 2, size - 1)
            start = torch.minimum((leader - width // 2).clamp(min=0), size - width)
            near = (other >= start) & (other < start + width)
        return near & (query % dilation == key % dilation)

    def is_visible(query: Tensor, key: Tensor) -> Tensor:
        if len(edges) == 1:
            return is_near(query, key, edges[0])
        width = edges[1]
        rows, columns = is_near(query // width, key // width, edges[0]), is_near(query % width, key % width, width)
        return rows & columns

    if len(edges) == 1:
        return build(edges[0], BLOCK, is_visible)
    tile = 4 if window <= 8 else 8
    return build(edges[0] * edges[1], tile * tile, is_visible, order=tile_order(edges[0], edges[1], tile))
