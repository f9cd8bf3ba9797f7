"""Block-sparse attention whose kv heads each keep another share of the far context.

"Efficient LLM Training and Serving with Heterogeneous Context Sharding among Attention Heads" (S2-Attention, 2024).

    blocks p (query) and b (key) of `block_size` tokens, kv head j of Hkv, step = max(1, v // Hkv) with v = `shards`
    visible iff p - b < num_local or (b + j step) mod v = 0, and s <= t inside causal sites; both ways |p - b| and b - p
    y = softmax(q k^T / sqrt D over visible keys) v;  out = y W_o

All heads together see everything as long as there are no more shards than kv heads, which is a rule here.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators import contract
from nas.operators.contract import Context, HeadKnobs, KeyValues, Site, kv_state, qkv
from nas.operators.pattern import Patterned, build


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, tokens per block, near blocks that every head sees, and parts of the far context."""

    block_size: int
    num_local: int
    shards: int

    def __post_init__(self) -> None:
        contract.HeadKnobs.__post_init__(self)
        if self.shards > self.num_kv_heads:
            raise ArchError(
                f"shards must be at most num_kv_heads ({self.num_kv_heads}), or some keys are seen by no head; got "
                f"{self.shards}: change one"
            )


class Mixer(Patterned[Knobs]):
    """A static mask per head, gathered or dense. On one CPU thread no faster than causal softmax: 1.0 of its time at
    1024 tokens, 2.1 at 4096. Decoding keeps all keys here, though a head never reads the shards of others again.
    """

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "num_local": (2, 1), "shards": (4, 2)}
    domains = frozenset(("sequence", "causal"))

    @classmethod
    def pattern(cls, knobs: Knobs, site: Site, tokens: int) -> Visibility:
        """The paper's own blocks, lists per head."""
        heads = knobs.num_heads, knobs.num_kv_heads
        return _pattern(tokens, knobs.block_size, knobs.num_local, knobs.shards, heads, site.is_causal)

    @classmethod
    def mask(cls, knobs: Knobs, site: Site, tokens: int) -> Tensor:
        """A table of blocks per head, blown up to tokens, `[H, T, T]`."""
        owner = torch.arange(tokens) // knobs.block_size
        tables = [_blocks(int(owner[-1]) + 1, head, knobs, is_causal=site.is_causal) for head in range(knobs.num_heads)]
        mask = torch.stack(tables)[:, owner][:, :, owner]
        return mask.tril() if site.is_causal else mask

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        own = torch.arange(k.shape[2], device=x.device) // knobs.block_size
        heads = torch.arange(knobs.num_heads, device=x.device) // (knobs.num_heads // knobs.num_kv_heads)
        step = max(1, knobs.shards // knobs.num_kv_heads)
        far = (own + (heads * step)[:, None]) % knobs.shards == 0
        mask = (far | (own[-1] - own < knobs.num_local)).view(1, knobs.num_heads, 1, -1)
        y = attention.decode(q, k, v, mask=mask.expand(x.shape[0], -1, -1, -1))
        return projections.output(y, x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)


def _blocks(count: int, head: int, knobs: Knobs, *, is_causal: bool) -> Tensor:
    shard = head // (knobs.num_heads // knobs.num_kv_heads) * max(1, knobs.shards // knobs.num_kv_heads)
    rows = []
    for p in range(count):
        away = [(b if is_causal else abs(b - p)) + shard for b in range(count)]
        rows.append([abs(p - b) < knobs.num_local or away[b] % knobs.shards == 0 for b in range(count)])
    return torch.tensor(rows)


@lru_cache(maxsize=64)
def _pattern(
    tokens: int, block_size: int, num_local: int, shards: int, heads: tuple[int, int], is_causal: bool
) -> Visibility:
    kv_head = torch.arange(heads[0]) // (heads[0] // heads[1])
    shard = (kv_head * max(1, shards // heads[1])).view(-1, 1, 1, 1)

    def is_visible(query: Tensor, key: Tensor) -> Tensor:
        p, b = query // block_size, key // block_size
        far = ((b if is_causal else (b - p).abs()) + shard.to(key.device)) % shards == 0
        seen = ((p - b).abs() < num_local) | far
        return seen & (key <= query) if is_causal else seen

    return build(tokens, block_size, is_visible)
