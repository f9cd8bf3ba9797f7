"""Sliding-window attention: each token sees its nearest `window_size` tokens, itself included.

"Longformer: The Long-Document Transformer" (2020), without its global tokens.

    q [B,Hq,T,D], k, v [B,Hkv,T,D];  causal: s visible to t iff 0 <= t - s < w
    bidirectional: -(w - 1 - w // 2) <= t - s <= w // 2, so odd w look equally far and even w one further back
    y = softmax(q k^T / sqrt D over visible s) v;  out = y W_o.  Windows shrink at the ends of the sequence.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import Context, HeadKnobs, KeyValues, Site, kv_state, qkv
from nas.operators.pattern import Patterned, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads and the number of visible keys, the token itself included."""

    window_size: int


class Mixer(Patterned[Knobs]):
    """A band of the attention matrix; decoding keeps only the last window."""

    knobs_type = Knobs
    suggested = {"window_size": (256, 128, 64, 32)}
    domains = frozenset(("sequence", "causal"))
    # a later block would need the keys that decoding drops
    publishes = frozenset()

    @classmethod
    def pattern(cls, knobs: Knobs, site: Site, tokens: int) -> Visibility:
        """Blocks of about the window's size."""
        return _pattern(tokens, *_reach(knobs, site))

    @classmethod
    def mask(cls, knobs: Knobs, site: Site, tokens: int) -> Tensor:
        """The band."""
        back, ahead = _reach(knobs, site)
        return torch.ones(tokens, tokens, dtype=torch.bool).tril(ahead).triu(-back)

    @classmethod
    def cached_tokens(cls, knobs: Knobs, site: Site) -> int:
        """The window."""
        return min(knobs.window_size, site.tokens)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of the last window, `[B, Hkv, <= window_size, D]`."""
        q, k, v = qkv(x, projections, knobs, cache=state)
        k, v = k[:, :, -knobs.window_size :], v[:, :, -knobs.window_size :]
        return projections.output(attention.decode(q, k, v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the last window."""
        return kv_state(x[:, -knobs.window_size :], projections, knobs)


def _reach(knobs: Knobs, site: Site) -> tuple[int, int]:
    """Visible tokens before and after the query."""
    back = knobs.window_size - 1 if site.is_causal else knobs.window_size // 2
    return back, knobs.window_size - 1 - back


@lru_cache(maxsize=64)
def _pattern(tokens: int, back: int, ahead: int) -> Visibility:
    def is_visible(query: Tensor, key: Tensor) -> Tensor:
        return (query - key <= back) & (key - query <= ahead)

    # blocks near the window's size waste least, but kernels under 16 or over 64 tokens are slower
    block_size = min(64, max(16, 1 << (back + ahead).bit_length()))
    return build(tokens, block_size, is_visible)
