"""Attention whose scores are convolved over neighbouring queries and keys, and whose maps are mixed over heads.

"Multi-Token Attention" (2025), the convolution before the softmax; its gate that depends on depth is left out.

    s_ij = q_i k_j / sqrt D, 0 for j > i;  s'_ij = sum_{a < query_reach, |b| <= key_reach} w_ab s_{i-a, j+b}
    A_h = sum_g M_hg softmax over j <= i (s'_g), M [H,H];  y_h = A_h v_h, brought to a mean square of 1 if normed
    out = y W_o
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
from nas.operators.taps import offsets

Finish = Literal["plain", "normed"]
State = tuple[Tensor, Tensor, Tensor]
"""k and v `[B, Hkv, T, D]` of all tokens, and the last queries `[B, H, query_reach - 1, D]`, fewer at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, how many queries back and keys to each side a score is made of, and what becomes of a head."""

    query_reach: int
    key_reach: int
    finish: Finish

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.finish not in get_args(Finish):
            raise ArchError(f"finish must be one of {', '.join(get_args(Finish))}; got {self.finish!r}: change it")


class Mixer(Operator[Knobs]):
    """Starts as softmax attention. All scores are held at once: several times slower than the fused kernel."""

    knobs_type = Knobs
    suggested = {"query_reach": (6, 3), "key_reach": (5, 2), "finish": get_args(Finish)}
    domains = frozenset(("causal",))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(one.num_heads for one in choices)
        keys, queries = max(2 * one.key_reach + 1 for one in choices), max(one.query_reach for one in choices)
        # offsets of keys from the centre outwards: 0, -1, 1, -2, 2
        self.taps = nn.Parameter(torch.zeros(heads, queries, keys))
        self.mix = nn.Parameter(torch.eye(heads))
        with torch.no_grad():
            self.taps[:, 0, 0] = 1.0

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """One grouped convolution of all scores."""
        q, k, v = qkv(x, projections, knobs)
        return self._output(self._attend(q, k, v, knobs), projections, knobs, x)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Sums of shifted scores, head by head."""
        q, k, v = qkv(x, projections, knobs)
        k, v, tokens = repeat_heads(k, knobs.num_heads), repeat_heads(v, knobs.num_heads), x.shape[1]
        seen = x.new_ones(tokens, tokens).tril()
        scores, half = (q @ k.mT) / math.sqrt(knobs.head_dim) * seen, knobs.key_reach
        wide = F.pad(scores, (half, half, knobs.query_reach - 1, 0))
        total = torch.zeros_like(scores)
        for a in range(knobs.query_reach):
            for tap, b in enumerate(_offsets(knobs.key_reach)):
                top, left = knobs.query_reach - 1 - a, half + b
                weight = of_heads(self.taps, knobs)[:, a, tap, None, None]
                total = total + weight * wide[:, :, top : top + tokens, left : left + tokens]
        maps = total.masked_fill(seen == 0, float("-inf")).softmax(-1)
        mix, rows = self._mix(knobs), []
        for h in range(knobs.num_heads):
            mixed = torch.stack([mix[h, g] * maps[:, g] for g in range(knobs.num_heads)]).sum(0)
            rows.append(mixed @ v[:, h])
        return self._output(torch.stack(rows, dim=1), projections, knobs, x)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: State | None = None
    ) -> tuple[Tensor, State]:
        """One decoded token: scores of the last `query_reach` queries."""
        q, k, v = qkv(x, projections, knobs, cache=None if state is None else state[:2])
        queries = q if state is None else torch.cat((state[2], q), dim=2)
        y = self._attend(queries, k, v, knobs)[:, :, -1:]
        return self._output(y, projections, knobs, x), (k, v, _last(queries, knobs.query_reach - 1))

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> State:
        """k and v of the tokens, and the last queries."""
        kept: KeyValues = kv_state(x, projections, knobs)
        last = _last(x, knobs.query_reach - 1, axis=1)
        return *kept, projections.query(last, knobs.num_heads, knobs.head_dim, knobs.num_kv_heads).contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Every pair, and for it a kernel and a product over heads."""
        width, taps = knobs.num_heads * knobs.head_dim, knobs.query_reach * (2 * knobs.key_reach + 1)
        each = 2 * width + knobs.num_heads * taps + knobs.num_heads**2
        last = width * min(knobs.query_reach - 1, site.tokens)
        inner = Cost(
            params=knobs.num_heads * taps + knobs.num_heads**2,
            flops=2 * each * site.tokens**2,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens + 4 * last,
            pairs=site.allowed_pairs,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, knobs: Knobs) -> Tensor:
        """The last queries `[B, H, Q, D]` on S keys, `[B, H, Q, D]`; scores of queries before them count as zero."""
        heads, queries, keys = knobs.num_heads, q.shape[2], k.shape[2]
        k, v = repeat_heads(k, heads), repeat_heads(v, heads)
        hidden = q.new_ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
        scores = (q @ k.transpose(-1, -2) / knobs.head_dim**0.5).masked_fill(hidden, 0.0)
        half = knobs.key_reach
        wide = F.pad(scores, (half, half, knobs.query_reach - 1, 0))
        convolved = F.conv2d(wide, self._kernel(knobs), groups=heads)
        maps = convolved.masked_fill(hidden, float("-inf")).softmax(-1)
        mixed = (self._mix(knobs) @ maps.flatten(2)).view(maps.shape)
        return mixed @ v

    def _mix(self, knobs: Knobs) -> Tensor:
        """`[H, H]`."""
        return of_heads(of_heads(self.mix, knobs).T, knobs).T

    def _kernel(self, knobs: Knobs) -> Tensor:
        """`[H, 1, query_reach, 2 key_reach + 1]`, the oldest query first, keys by place."""
        places = _offsets(knobs.key_reach)
        order = sorted(range(len(places)), key=places.__getitem__)
        return of_heads(self.taps, knobs)[:, : knobs.query_reach, order].flip(1).unsqueeze(1)

    def _output(self, y: Tensor, projections: Projections, knobs: Knobs, x: Tensor) -> Tensor:
        return projections.output(
            F.rms_norm(y, y.shape[-1:]) if knobs.finish == "normed" else y, x.shape[-1], knobs.num_kv_heads
        )


def _offsets(key_reach: int) -> list[int]:
    """Places of keys around a score's own, in the order in which taps are stored."""
    return [place for (place,) in offsets(2 * key_reach + 1, "sequence")]


def _last(x: Tensor, count: int, axis: int = 2) -> Tensor:
    """The last entries along the axis, all if there are fewer."""
    kept = min(count, x.shape[axis])
    return x.narrow(axis, x.shape[axis] - kept, kept)
