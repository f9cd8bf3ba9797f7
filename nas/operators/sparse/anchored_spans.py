"""Each query searches anchors at growing distances and attends to the spans before the best, beside a window.

"Superlinear Multi-Step Attention" (2026) with two steps; the window's weight is our choice.

    r_t = floor(sqrt(t + 1));  anchors a_i = t - (i^2 - 1), i = 2..r_t, those inside the window left out
    g_i = q'_t k_{a_i} / sqrt D with search queries q' = x W_s, W_s [Hq, D, C];  the topk best anchors
    span(a) = the last span_factor r_t + 1 tokens up to a;  near = softmax attention over the last window_size tokens
    y_t = sum_j w_j (softmax attention of q_t over part j), parts are near and the spans;  out = y W_o
    w = softmax([q'_t k_t / sqrt D, g of the best])

From span_factor 2 on the spans of all anchors cover everything before t, at O(T^1.5) for all queries. A query gathers
spans of its own, so whole passes on CPU take longer than full attention at 4096 tokens, too; decoding reads few keys.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections, by_group
from nas.kernels import attention
from nas.operators.contract import KV, Context, Cost, KeyValues, Operator, Site, kv_state, projection_cost, qkv
from nas.operators.pattern import executed_pairs, placed
from nas.operators.sparse import window

CHUNK_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(window.Knobs):
    """Heads, the window, spans per query, and the length of a span in units of sqrt(t + 1)."""

    topk: int
    span_factor: int

    def shape(self, tokens: int) -> tuple[int, int, int]:
        """Anchors beyond the query, spans and tokens per span of the last of so many tokens."""
        root = math.isqrt(tokens)
        return root - 1, min(self.topk, root - 1), min(tokens, self.span_factor * root + 1)


class Mixer(Operator[Knobs]):
    """Gathered spans, some queries at a time; any earlier token can be reached."""

    knobs_type = Knobs
    suggested = {"window_size": (64, 32), "topk": (3, 2, 1), "span_factor": (3, 2)}
    domains = frozenset(("causal",))
    publishes = KV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(knobs.num_heads for knobs in choices), max(knobs.head_dim for knobs in choices)
        self.search = Elastic((heads, width), (site.embed_dim,))
        for knobs in choices:
            window.Mixer.pattern(knobs, site, site.tokens)

    def inherit(self, projections: Projections) -> None:
        """Starts the search with the queries of attention."""
        if projections.q is not None:
            corner = tuple(map(slice, self.search.weight.shape))
            with torch.no_grad():
                self.search.weight.copy_(projections.q.weight[corner])

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The window by blocks, the spans by gathered tokens."""
        q, k, v = qkv(x, projections, knobs, context)
        search, tokens = self._search(x, knobs), x.shape[1]
        near = attention.sparse(q, k, v, placed(window.Mixer.pattern(knobs, context.site, tokens), x.device))
        parts = []
        for start in range(0, tokens, CHUNK_SIZE):
            chunk = slice(start, min(start + CHUNK_SIZE, tokens))
            parts.append(_searched(q[:, :, chunk], search[:, :, chunk], k, v, near[:, :, chunk], chunk.stop, knobs))
        return projections.output(torch.cat(parts, dim=2), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Query by query, part by part."""
        q, k, v = qkv(x, projections, knobs, context)
        k, v = attention.repeat_heads(k, knobs.num_heads), attention.repeat_heads(v, knobs.num_heads)
        search = self._search(x, knobs)
        rows = [
            _obvious(q[:, :, t], search[:, :, t], k[:, :, : t + 1], v[:, :, : t + 1], knobs) for t in range(x.shape[1])
        ]
        return projections.output(torch.stack(rows, dim=2), x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far, few of which are read."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        near = attention.decode(q, k[:, :, -knobs.window_size :], v[:, :, -knobs.window_size :])
        y = _searched(q, self._search(x, knobs), k, v, near, k.shape[2], knobs)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """The window's computed pairs, anchors and spans; `pairs` are those of the window and of whole spans."""
        inner_width, pattern = knobs.num_heads * knobs.head_dim, window.Mixer.pattern(knobs, site, site.tokens)
        flops = 4 * inner_width * executed_pairs(pattern)
        for start in range(0, site.tokens, CHUNK_SIZE):
            stop = min(start + CHUNK_SIZE, site.tokens)
            anchors, spans, length = knobs.shape(stop)
            scored = 2 * (anchors + 1) + 4 * spans * length if spans else 0
            flops += (stop - start) * inner_width * scored
        weights = inner_width * site.embed_dim
        inner = Cost(
            params=weights,
            flops=flops + 2 * weights * site.tokens,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=sum(_pairs(knobs, position) for position in range(site.tokens)),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _search(self, x: Tensor, knobs: Knobs) -> Tensor:
        search = by_group(self.search(x, knobs.num_heads, knobs.head_dim).transpose(1, 2), knobs.num_kv_heads, dim=1)
        return search


def _searched(q: Tensor, search: Tensor, k: Tensor, v: Tensor, near: Tensor, stop: int, knobs: Knobs) -> Tensor:
    """Outputs `[B, Hq, n, D]` of the n queries before `stop`, whose windows gave `near`."""
    anchors, spans, length = knobs.shape(stop)
    if not spans:
        return near
    position = torch.arange(stop - q.shape[2], stop, device=q.device)
    offsets = torch.arange(1, anchors + 2, device=q.device) ** 2 - 1
    at = position.unsqueeze(-1) - offsets
    keys = _taken(k, at.clamp_min(0).expand(*q.shape[:2], -1, -1))
    scores = (keys @ search.unsqueeze(-1)).squeeze(-1) / math.sqrt(knobs.head_dim)
    barred = (at < 0) | ((offsets < knobs.window_size) & (offsets > 0))
    gates, best = scores.masked_fill(barred, -torch.inf)[..., 1:].topk(spans, dim=-1)
    ends = at.expand_as(scores)[..., 1:].gather(-1, best)
    y = _attended(q, k, v, ends, position, length, knobs)
    weights = torch.cat((scores[..., :1], gates), dim=-1).softmax(-1)
    return weights[..., :1] * near + (weights[..., 1:].unsqueeze(-1) * y).sum(-2)


def _attended(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, position: Tensor, length: int, knobs: Knobs) -> Tensor:
    """Softmax attention over each span up to `ends` `[B, Hq, n, spans]`, `[B, Hq, n, spans, D]`."""
    back = torch.arange(length, device=q.device)
    tokens = ends.unsqueeze(-1) - back
    own = knobs.span_factor * (position + 1).double().sqrt().floor().long() + 1
    # a span that does not exist has a weight of zero but must not be empty
    visible = ((tokens >= 0) & (back < own.view(-1, 1, 1))) | (back == 0)
    keys, values = (_taken(part, tokens.clamp_min(0).flatten(3)) for part in (k, v))
    shape = -1, ends.shape[3], length, q.shape[3]
    queries = q.unsqueeze(3).expand(-1, -1, -1, ends.shape[3], -1).reshape(-1, ends.shape[3], 1, q.shape[3])
    mask = visible.reshape(-1, ends.shape[3], 1, length)
    y = attention.dense(queries, keys.reshape(shape), values.reshape(shape), mask=mask)
    return y.reshape(*ends.shape, -1)


def _taken(x: Tensor, index: Tensor) -> Tensor:
    """Tokens `[B, Hq, n, m]` of `[B, Hkv, T, D]`, `[B, Hq, n, m, D]`."""
    batch, heads = index.shape[:2]
    groups = heads // x.shape[1]
    row = torch.arange(batch, device=x.device).view(-1, 1) * x.shape[1] + torch.arange(heads, device=x.device) // groups
    taken = x.flatten(0, 2).index_select(0, (row.view(batch, heads, 1, 1) * x.shape[2] + index).flatten())
    return taken.view(*index.shape, x.shape[3])


def _obvious(q: Tensor, search: Tensor, k: Tensor, v: Tensor, knobs: Knobs) -> Tensor:
    """The newest of t + 1 tokens, `[B, Hq, D]`."""
    last, scale = k.shape[2] - 1, math.sqrt(knobs.head_dim)
    root, token = math.isqrt(last + 1), torch.arange(last + 1, device=q.device)
    anchors = [last - (i * i - 1) for i in range(2, root + 1) if i * i - 1 >= knobs.window_size]
    gates = (k[:, :, [last, *anchors]] @ search.unsqueeze(-1)).squeeze(-1) / scale
    best = gates[..., 1:].argsort(-1, descending=True)[..., : knobs.topk]
    parts = [(token > last - knobs.window_size).expand_as(k[..., 0])]
    for ends in token.new_tensor(anchors)[best].unsqueeze(-1).unbind(2):
        parts.append((token <= ends) & (token >= ends - knobs.span_factor * root))
    scores = (k @ q.unsqueeze(-1)).squeeze(-1) / scale
    outputs = [(scores.masked_fill(~part, -torch.inf).softmax(-1).unsqueeze(2) @ v).squeeze(2) for part in parts]
    weights = torch.cat((gates[..., :1], gates[..., 1:].gather(-1, best)), dim=-1).softmax(-1)
    return (weights.unsqueeze(-1) * torch.stack(outputs, dim=2)).sum(2)


def _pairs(knobs: Knobs, position: int) -> int:
    """Visited pairs of one query, tokens that two parts share counted once, as if the spans lay apart."""
    root, seen = math.isqrt(position + 1), min(knobs.window_size, position + 1)
    anchors = sum(i * i - 1 >= knobs.window_size for i in range(2, root + 1))
    spans = min(knobs.topk, anchors) * (knobs.span_factor * root + 1)
    return min(position + 1, seen + spans)
