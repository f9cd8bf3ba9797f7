"""Exact attention on the key blocks that matter most, linear attention on others, one routing for both.

    n = ceil(T / block_size) blocks;  s [B,Hq,n,n] scores between them;  critical = the topk key blocks of each row
    O_s = softmax(q k^T / sqrt D over the tokens of critical blocks) v
    O_l = phi(q) sum_b phi(K_b)^T V_b / (phi(q) . sum_b phi(K_b)^T 1) over marginal blocks b, by their states [D,D]

A subclass scores the blocks, says which ones are marginal, and blends both. The choice looks at all tokens, so there is
no causal form. With all blocks critical there is no O_l. Level with full attention at 1024 tokens, a third of its time
at 4096.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention, features
from nas.kernels.visibility import Visibility
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.pattern import executed_pairs

MAPS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"softmax": lambda x: x.softmax(-1), "elu_plus_one": features.elu_plus_one, "relu": features.relu}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureKnobs(HeadKnobs):
    """Heads, tokens per block, critical blocks per block of queries (more than there are means all), and phi."""

    block_size: int
    topk: int
    feature_map: str

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.feature_map not in MAPS:
            raise ArchError(f"feature_map must be one of {', '.join(MAPS)}, got {self.feature_map!r}: change it")

    def num_blocks(self, tokens: int) -> int:
        """n, the last block may be short."""
        return -(-tokens // self.block_size)


M = TypeVar("M", bound=MixtureKnobs)


class SparseLinear(Operator[M]):
    """Gathered blocks or a dense mask, beside one state per key block that is mixed for every block of queries."""

    domains = frozenset(("image", "sequence"))
    publishes = KV

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores `[B, Hq, n, n]` of the mean queries `[B, Hq, n, D]` and mean keys `[B, Hkv, n, D]`."""

    @abstractmethod
    def marginal(self, scores: Tensor, critical: Tensor, knobs: M) -> Tensor:
        """Weight of each key block in O_l, 0 or 1, `[B, Hq, n, n]`, of the scores and the bool table of critical."""

    @abstractmethod
    def blend(self, near: Tensor, far: Tensor | None, knobs: M) -> Tensor:
        """The output `[B, Hq, T, D]` of O_s and O_l."""

    @classmethod
    @abstractmethod
    def own_cost(cls, knobs: M, site: Site) -> Cost:
        """Private parameters, the flops of `scores` and `blend`, and the visited pairs where not all are critical."""

    def forward(self, x: Tensor, projections: Projections, knobs: M, context: Context) -> Tensor:
        """Chosen blocks by the sparse executor, the others by their states."""
        q, k, v = qkv(x, projections, knobs, context)
        if knobs.topk >= knobs.num_blocks(x.shape[1]):
            return projections.output(
                self.blend(attention.dense(q, k, v), None, knobs), x.shape[-1], knobs.num_kv_heads
            )
        scores = self.scores(block_means(q, knobs.block_size), block_means(k, knobs.block_size))
        lists = scores.detach().topk(knobs.topk, dim=-1).indices
        critical = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, lists, True)
        near = attention.sparse(q, k, v, Visibility(tokens=x.shape[1], block_size=knobs.block_size, lists=lists))
        far = _by_states(q, k, v, self.marginal(scores, critical, knobs), knobs)
        return projections.output(self.blend(near, far, knobs), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: M, context: Context) -> Tensor:
        """Explicit T x T weights of both; blocks are averaged one by one and ranked by sorting."""
        q, k, v = qkv(x, projections, knobs, context)
        block = torch.arange(x.shape[1], device=x.device) // knobs.block_size
        if knobs.topk >= knobs.num_blocks(x.shape[1]):
            return projections.output(
                self.blend(attention.reference(q, k, v), None, knobs), x.shape[-1], knobs.num_kv_heads
            )
        means = [torch.stack([p.mean(2) for p in torch.split(y, knobs.block_size, dim=2)], dim=2) for y in (q, k)]
        scores = self.scores(*means)
        critical = scores.argsort(-1, descending=True).argsort(-1) < knobs.topk
        near = attention.reference(q, k, v, critical[:, :, block][..., block])
        phi = MAPS[knobs.feature_map]
        weights = phi(q) @ attention.repeat_heads(phi(k), knobs.num_heads).transpose(-1, -2)
        weights = weights * self.marginal(scores, critical, knobs)[:, :, block][..., block]
        far = weights @ attention.repeat_heads(v, knobs.num_heads) / weights.sum(-1, keepdim=True)
        return projections.output(self.blend(near, far, knobs), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def cost(cls, knobs: M, site: Site) -> Cost:
        """Both branches with the padding of the last block."""
        width, blocks = knobs.head_dim, knobs.num_blocks(site.tokens)
        kept = Cost(kv_cache_bytes=8 * knobs.num_kv_heads * width * site.tokens)
        own = cls.own_cost(knobs, site)
        if knobs.topk >= blocks:
            dense = Cost(params=own.params, flops=4 * knobs.num_heads * width * site.tokens**2, pairs=site.tokens**2)
            return projection_cost(knobs, site) + kept + dense
        lists = torch.zeros(1, 1, blocks, knobs.topk, dtype=torch.int64)
        pattern = Visibility(tokens=site.tokens, block_size=knobs.block_size, lists=lists)
        near = 4 * knobs.num_heads * width * executed_pairs(pattern)
        rows = blocks * knobs.block_size * (knobs.num_kv_heads + knobs.num_heads)
        far = 2 * width * (width + 1) * (rows + knobs.num_heads * blocks**2)
        return projection_cost(knobs, site) + kept + own + Cost(flops=near + far)

    @classmethod
    def rank(cls, knobs: M, site: Site) -> int:
        """The head width, of scores and states alike."""
        return knobs.head_dim


def block_means(x: Tensor, block_size: int) -> Tensor:
    """Mean token of each block of x `[B, H, T, D]`, `[B, H, n, D]`; a short last block averages what it has."""
    tokens = x.shape[2]
    sums = _blocks(x, block_size).sum(3)
    sizes = tokens - block_size * torch.arange(sums.shape[2], device=x.device)
    return sums / sizes.clamp_max(block_size).unsqueeze(-1)


def _blocks(x: Tensor, block_size: int) -> Tensor:
    """`[B, H, T, D]` to `[B, H, n, block_size, D]`, zero padded."""
    return torch.unflatten(F.pad(x, (0, 0, 0, -x.shape[2] % block_size)), 2, (-1, block_size))


def _by_states(q: Tensor, k: Tensor, v: Tensor, marginal: Tensor, knobs: MixtureKnobs) -> Tensor:
    """O_l `[B, Hq, T, D]`, all blocks at once."""
    phi, size = MAPS[knobs.feature_map], knobs.block_size
    # the maps are positive at zero: pad what they return; a column of ones carries the sum of keys
    keys, values = _blocks(phi(k), size), _blocks(F.pad(v, (0, 1), value=1.0), size)
    states = keys.transpose(-1, -2) @ values
    mixed = marginal @ attention.repeat_heads(states.flatten(3), q.shape[1])
    out = _blocks(phi(q), size) @ torch.unflatten(mixed, -1, states.shape[3:])
    out = out.flatten(2, 3)[:, :, : q.shape[2]]
    return out[..., :-1] / out[..., -1:]
