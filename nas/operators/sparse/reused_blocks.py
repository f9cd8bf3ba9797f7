"""Attention of own queries, keys and values inside the key blocks that an `anchor` before it chose.

The reuse layers of "Kascade: A Practical Sparse Attention Method for Long-Context LLM Inference" (2025), with kv heads
matched by their index; `nas.train.anchors` places the anchors on data.

    I(t) the blocks that the anchor chose for query t, and the query's own block
    y_t = softmax(q_t k_s^T / sqrt D over s in I(t), s <= t if causal) v;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.elastic import Projections
from nas.kernels import attention, query_blocks
from nas.operators import chosen_blocks
from nas.operators.contract import (
    Context,
    Cost,
    HeadKnobs,
    KeyValues,
    Operator,
    Site,
    kv_state,
    projection_cost,
    qkv,
)
from nas.operators.key_selection import take_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block and blocks per query, the anchor's, its own block aside."""

    block_size: int
    topk: int


class Mixer(Operator[Knobs]):
    """Pays in decoding, where a token reads its blocks alone, and over long sequences (`nas.kernels.query_blocks`)."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2)}
    domains = frozenset(("sequence", "causal"))
    consumes = frozenset((chosen_blocks.NAME,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The chosen blocks of each query, by chunks or under a mask."""
        blocks = chosen_blocks.with_own(context.read(chosen_blocks.NAME), knobs.block_size)
        q, k, v = qkv(x, projections, knobs)
        y = query_blocks.attend(q, k, v, blocks, knobs.block_size, is_causal=context.site.is_causal)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Query by query over the tokens of its blocks."""
        q, k, v = (attention.repeat_heads(part, knobs.num_heads) for part in qkv(x, projections, knobs))
        blocks, outputs = context.read(chosen_blocks.NAME), torch.zeros_like(q)
        group = knobs.num_heads // knobs.num_kv_heads
        for sample in range(x.shape[0]):
            for head in range(knobs.num_heads):
                for t in range(x.shape[1]):
                    named = {int(b) for b in blocks[sample, head // group, t] if b >= 0} | {t // knobs.block_size}
                    last = t + 1 if context.site.is_causal else x.shape[1]
                    near = [s for s in range(last) if s // knobs.block_size in named]
                    scores = k[sample, head, near] @ q[sample, head, t] / knobs.head_dim**0.5
                    outputs[sample, head, t] = scores.softmax(-1) @ v[sample, head, near]
        return projections.output(outputs, x.shape[-1], knobs.num_kv_heads)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token, which reads its blocks; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, cache=state)
        blocks = context.read(chosen_blocks.NAME)
        places, counts = chosen_blocks.newest(blocks, k.shape[2], knobs.block_size, diagonal=True)
        mask = attention.repeat_heads(counts.unsqueeze(2), knobs.num_heads)
        y = attention.decode(q, take_tokens(k, places), take_tokens(v, places), mask=mask)
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs)

    @classmethod
    def can_follow(cls, knobs: Knobs, earlier: Sequence[OperatorArch]) -> bool:
        """After an anchor with as many kv heads and the same blocks."""
        source = operators.publisher(cls.consumes, earlier)
        own = (knobs.num_kv_heads, knobs.block_size, knobs.topk)
        return source is not None and tuple(source[k] for k in ("num_kv_heads", "block_size", "topk")) == own

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed scores; `pairs` assume full blocks."""
        keys = (knobs.topk + 1) * knobs.block_size
        scored = query_blocks.computed_pairs(site.tokens, knobs.topk + 1, knobs.block_size)
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * scored,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=chosen_blocks.pairs(site.tokens, keys, is_causal=site.is_causal),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim
