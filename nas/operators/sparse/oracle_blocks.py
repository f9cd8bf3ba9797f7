"""Own queries on the keys and values of an `anchor` before them, inside the blocks that it chose, and a window of own
keys and values beside it.

The sparse layers of "HySparse: A Hybrid Sparse Attention Architecture with Oracle Token Selection and KV Cache Sharing"
(2026).

    a_t = softmax(q_t K_s^T / sqrt D over s in the blocks that the anchor chose for t) V of the anchor's K, V
    b_t = softmax(q_t k_s^T / sqrt D over t - w < s <= t) v of its own k, v
    out = (sigmoid(x W_1) a + sigmoid(x W_2) b) W_o with a gate per head
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas import operators
from nas.arch import OperatorArch
from nas.elastic import Elastic, Projections, by_group
from nas.kernels import attention, query_blocks
from nas.operators import chosen_blocks
from nas.operators.contract import Context, Cost, HeadKnobs, KeyValues, Operator, Site, projection_cost, qkv
from nas.operators.key_selection import take_tokens
from nas.operators.pattern import executed_pairs, placed
from nas.operators.sparse import window


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block and blocks per query, the anchor's, and the window of its own keys."""

    block_size: int
    topk: int
    window_size: int

    @property
    def near(self) -> window.Knobs:
        """The window's part."""
        heads = {"num_heads": self.num_heads, "num_kv_heads": self.num_kv_heads, "head_dim": self.head_dim}
        return window.Knobs(**heads, window_size=self.window_size)


class Mixer(Operator[Knobs]):
    """Keeps a window of keys instead of all; computes the chosen blocks alone in long sequences and in decoding."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "topk": (4, 2), "window_size": (128, 64)}
    domains = frozenset(("causal",))
    consumes = frozenset(("k", "v", chosen_blocks.NAME))

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        for knobs in choices:  # cached now, since tensors have no values while a model is being exported
            window.Mixer.pattern(knobs.near, site, site.tokens)
        self.gates = Elastic((2, max(one.num_heads for one in choices)), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """The chosen blocks of each query, by chunks or under a mask, and gathered blocks of the window."""
        q, k, v = qkv(x, projections, knobs)
        keys, values, blocks = (context.read(name) for name in ("k", "v", chosen_blocks.NAME))
        far = query_blocks.attend(q, keys, values, blocks, knobs.block_size, is_causal=True)
        pattern = placed(window.Mixer.pattern(knobs.near, context.site, x.shape[1]), x.device)
        return self._blend(far, attention.sparse(q, k, v, pattern), x, projections, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax under both masks, the blocks' built pair by pair."""
        q, k, v = qkv(x, projections, knobs)
        blocks, tokens = context.read(chosen_blocks.NAME), x.shape[1]
        mask = torch.zeros(*blocks.shape[:2], tokens, tokens, dtype=torch.bool)
        for t in range(tokens):
            for s in range(t + 1):
                mask[:, :, t, s] = (blocks[:, :, t] == s // knobs.block_size).any(-1)
        mask = attention.repeat_heads(mask, knobs.num_heads)
        far = attention.reference(q, context.read("k"), context.read("v"), mask)
        near = attention.reference(q, k, v, window.Mixer.mask(knobs.near, context.site, tokens))
        return self._blend(far, near, x, projections, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of the last window_size tokens."""
        q, k, v = (part[:, :, -knobs.window_size :] for part in qkv(x, projections, knobs, cache=state))
        keys, values = context.read("k"), context.read("v")
        places, counts = chosen_blocks.newest(context.read(chosen_blocks.NAME), keys.shape[2], knobs.block_size)
        mask = attention.repeat_heads(counts.unsqueeze(2), knobs.num_heads)
        far = attention.decode(q, take_tokens(keys, places), take_tokens(values, places), mask=mask)
        return self._blend(far, attention.decode(q, k, v), x, projections, knobs), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the last tokens."""
        _, k, v = qkv(x[:, -knobs.window_size :], projections, knobs)
        return k.contiguous(), v.contiguous()

    @classmethod
    def can_follow(cls, knobs: Knobs, earlier: Sequence[OperatorArch]) -> bool:
        """After an anchor with as many kv heads of the same width and the same blocks."""
        source = operators.publisher(cls.consumes, earlier)
        names = ("num_kv_heads", "head_dim", "block_size", "topk")
        return source is not None and all(source[name] == getattr(knobs, name) for name in names)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Computed scores and those of the window's blocks; `pairs` assume full blocks beyond the window."""
        far = query_blocks.computed_pairs(site.tokens, knobs.topk, knobs.block_size)
        heads, gates = knobs.num_heads * knobs.head_dim, 2 * knobs.num_heads * site.embed_dim
        near = executed_pairs(window.Mixer.pattern(knobs.near, site, site.tokens))
        keys = knobs.topk * knobs.block_size + knobs.window_size
        inner = Cost(
            params=gates,
            flops=4 * heads * (far + near) + 2 * site.tokens * gates,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * min(site.tokens, knobs.window_size),
            pairs=chosen_blocks.pairs(site.tokens, keys, is_causal=True),
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _blend(self, far: Tensor, near: Tensor, x: Tensor, projections: Projections, knobs: Knobs) -> Tensor:
        gates = self.gates(x, 2, knobs.num_heads).sigmoid().permute(2, 0, 3, 1).unsqueeze(-1)
        gates = by_group(gates, knobs.num_kv_heads, dim=2)
        return projections.output(gates[0] * far + gates[1] * near, x.shape[-1], knobs.num_kv_heads)
