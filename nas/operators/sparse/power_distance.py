"""Block-sparse attention to near blocks, blocks at power-of-two distances and the first blocks.

"PowerAttention: Exponentially Scaling of Receptive Fields for Effective Sparse Attention" (2025); its name also belongs
to an unrelated linear attention. Causal in the paper; without causality distances count both ways here.

    blocks p (query) and b (key) of `block_size` tokens, t = p - b (bidirectional: |p - b|)
    visible iff t < num_local or t in {1, 2, 4, ...} or b < num_sink, and s <= t inside causal sites
    q [B,Hq,T,D], k, v [B,Hkv,T,D];  y = softmax(q k^T / sqrt D over visible keys) v;  out = y W_o
    O(log T) blocks per query; L layers reach 2^(L+1) - 1 blocks back without holes (num_local >= 1)
"""

from dataclasses import dataclass, field
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
    """Heads, tokens per block, and how many near and first blocks are always seen."""

    block_size: int
    num_local: int
    num_sink: int = field(metadata={"least": 0})


class Mixer(Patterned[Knobs]):
    """One static block mask for all heads; old keys stay cached, since any of them can come into view again."""

    knobs_type = Knobs
    suggested = {"block_size": (64, 32), "num_local": (2, 1), "num_sink": (1, 0)}
    domains = frozenset(("sequence", "causal"))

    @classmethod
    def pattern(cls, knobs: Knobs, site: Site, tokens: int) -> Visibility:
        """The paper's own blocks."""
        return _pattern(tokens, knobs.block_size, knobs.num_local, knobs.num_sink, site.is_causal)

    @classmethod
    def mask(cls, knobs: Knobs, site: Site, tokens: int) -> Tensor:
        """A table of blocks, blown up to tokens."""
        num_blocks = -(-tokens // knobs.block_size)
        distances = set(range(knobs.num_local)) | {2**power for power in range(num_blocks.bit_length())}
        blocks = torch.tensor(
            [[abs(p - b) in distances or b < knobs.num_sink for b in range(num_blocks)] for p in range(num_blocks)]
        )
        owner = torch.arange(tokens) // knobs.block_size
        mask = blocks[owner][:, owner]
        return mask.tril() if site.is_causal else mask

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token, which reads its O(log T) blocks; the state is k and v of all tokens so far."""
        q, k, v = qkv(x, projections, knobs, context, cache=state)
        size = knobs.block_size
        runs = [slice(size * b, size * (b + 1)) for b in _seen_blocks((k.shape[2] - 1) // size, knobs)]
        seen_k, seen_v = (torch.cat([part[:, :, run] for run in runs], dim=2) for part in (k, v))
        return projections.output(attention.decode(q, seen_k, seen_v), x.shape[-1], knobs.num_kv_heads), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        return kv_state(x, projections, knobs, context)


def _seen_blocks(own: int, knobs: Knobs) -> list[int]:
    """Blocks that the newest token sees, of which it is in block `own`."""
    distances = {*range(knobs.num_local), *(2**power for power in range(own.bit_length()))}
    return sorted({own - t for t in distances if t <= own} | set(range(min(knobs.num_sink, own))))


@lru_cache(maxsize=64)
def _pattern(tokens: int, block_size: int, num_local: int, num_sink: int, is_causal: bool) -> Visibility:
    def is_visible(query: Tensor, key: Tensor) -> Tensor:
        distance = (query // block_size - key // block_size).abs()
        is_power = (distance > 0) & ((distance & (distance - 1)) == 0)
        seen = (distance < num_local) | is_power | (key // block_size < num_sink)
        return seen & (key <= query) if is_causal else seen

    return build(tokens, block_size, is_visible)
