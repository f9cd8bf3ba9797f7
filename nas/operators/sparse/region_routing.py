"""Each region of the grid attends to the regions that its mean query likes best, plus a local convolution of v.

"BiFormer: Vision Transformer with Bi-Level Routing Attention" (2023), with the scale 1 / sqrt(head_dim) that the other
operators use in place of its 1 / sqrt(C), so that weights carry over between operators.

    regions S x S of the H x W grid, their sides differing by at most one token;  q [B,Hq,T,D], k, v [B,Hkv,T,D]
    qr, kr [B,S^2,Hq D] = means over a region, all heads side by side;  I = topk indices of qr kr^T, no gradient
    y = softmax(q k^T / sqrt D over the tokens of regions I) v + LePE(v), LePE depthwise 5 x 5;  out = y W_o
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.kernels.visibility import Visibility
from nas.operators.contract import KV, Context, Cost, HeadKnobs, Operator, Site, projection_cost, qkv
from nas.operators.pattern import executed_pairs

LEPE_SIZE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(HeadKnobs):
    """Heads, regions per axis, and regions per query region."""

    regions: int
    topk: int

    def __post_init__(self) -> None:
        HeadKnobs.__post_init__(self)
        if self.topk > self.regions**2:
            raise ArchError(
                f"topk must be at most regions^2 = {self.regions**2}, got {self.topk}: change topk or regions"
            )


class Mixer(Operator[Knobs]):
    """Content-based sparsity between regions, one choice for all heads; all regions chosen is full attention."""

    knobs_type = Knobs
    suggested = {"regions": (4, 2, 7), "topk": (4, 2, 1)}
    domains = frozenset(("image",))
    publishes = KV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads = max(knobs.num_kv_heads for knobs in choices)
        width = max(knobs.head_dim for knobs in choices)
        # cached now, since tensors have no values while a model is being exported
        for knobs in choices:
            _layout(*_grid(site), knobs.regions, torch.device("cpu"))
        self.lepe = nn.Parameter(torch.randn(heads, width, LEPE_SIZE, LEPE_SIZE) / LEPE_SIZE)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Tokens sorted into regions of equal, padded size, then gathered blocks or a dense mask."""
        q, k, v = qkv(x, projections, knobs, context)
        grid = _grid(context.site)
        if knobs.topk == knobs.regions**2:
            y = attention.dense(q, k, v)
        else:
            y = _routed_attention(q, k, v, _layout(*grid, knobs.regions, x.device), knobs.topk)
        return projections.output(y + self._local(v, knobs, grid), x.shape[-1], knobs.num_kv_heads)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; regions are averaged one by one and ranked by sorting."""
        q, k, v = qkv(x, projections, knobs, context)
        grid = _grid(context.site)
        region = _region_of_token(*grid, knobs.regions).to(x.device)
        wide = (q, attention.repeat_heads(k, knobs.num_heads))
        members = [region == index for index in range(knobs.regions**2)]
        means = [torch.stack([y[:, :, chosen].mean(2).flatten(1) for chosen in members], dim=1) for y in wide]
        scores = means[0] @ means[1].transpose(-1, -2)
        chosen = scores.argsort(-1, descending=True).argsort(-1) < knobs.topk
        y = attention.reference(q, k, v, chosen[:, region][:, :, region].unsqueeze(1))
        return projections.output(y + self._local(v, knobs, grid), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Needs a grid with at least `regions` tokens per axis."""
        if knobs.regions > min(_grid(site)):
            raise ArchError(f"regions must not exceed the grid {site.grid}, got {knobs.regions}: lower it")

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Flops of the computed pairs, padded regions included; `pairs` assume even routing where regions differ."""
        width, kv_width = knobs.num_heads * knobs.head_dim, knobs.num_kv_heads * knobs.head_dim
        weights, count = LEPE_SIZE**2 * kv_width, knobs.regions**2
        flops = 4 * width * site.tokens**2
        if knobs.topk < count:
            layout = _layout(*_grid(site), knobs.regions, torch.device("cpu"))
            lists = torch.zeros(1, 1, count, knobs.topk, dtype=torch.int64)
            flops = 4 * width * executed_pairs(layout.visibility(lists)) + 2 * width * count**2
        inner = Cost(
            params=weights,
            flops=flops + 2 * weights * site.tokens,
            kv_cache_bytes=8 * kv_width * site.tokens,
            pairs=site.tokens**2 * knobs.topk / count,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim

    def _local(self, v: Tensor, knobs: Knobs, grid: tuple[int, int]) -> Tensor:
        """LePE of every kv head, repeated for its query heads, `[B, Hq, T, D]`."""
        kernel = self.lepe[: v.shape[1], : v.shape[3]].reshape(-1, 1, LEPE_SIZE, LEPE_SIZE)
        image = torch.unflatten(v.transpose(2, 3).flatten(1, 2), 2, grid)
        out = F.conv2d(image, kernel, padding=LEPE_SIZE // 2, groups=kernel.shape[0])
        heads = torch.unflatten(out.flatten(2), 1, v.shape[1:2] + v.shape[3:]).transpose(2, 3)
        return attention.repeat_heads(heads, knobs.num_heads)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Token of every slot (0 in padding), which slots are real `[S^2, n]`, and the slot of every token `[T]`."""

    token: Tensor
    real: Tensor
    slot: Tensor

    def visibility(self, lists: Tensor) -> Visibility:
        """The slots under region lists; padding is invisible."""
        real = self.real.flatten()
        is_even = len(self.slot) == len(real)
        predicate = None if is_even else lambda _, key: real[key]
        return Visibility(tokens=len(real), block_size=self.real.shape[1], lists=lists, predicate=predicate)


def _routed_attention(q: Tensor, k: Tensor, v: Tensor, layout: _Layout, topk: int) -> Tensor:
    q, k, v = (x.index_select(2, layout.token.flatten()) for x in (q, k, v))
    y = attention.sparse(q, k, v, layout.visibility(_routes(q, k, layout, topk)))
    return y.index_select(2, layout.slot)


@torch.no_grad()
def _routes(q: Tensor, k: Tensor, layout: _Layout, topk: int) -> Tensor:
    """Chosen regions per region from q and k in slots, `[B, 1, S^2, topk]`."""
    share = layout.real / layout.real.sum(1, keepdim=True)
    means = [(torch.unflatten(x, 2, share.shape) * share.to(x.dtype).unsqueeze(-1)).sum(3) for x in (q, k)]
    queries, keys = (attention.repeat_heads(x, q.shape[1]).transpose(1, 2).flatten(2) for x in means)
    return (queries @ keys.transpose(-1, -2)).topk(topk, dim=-1).indices.unsqueeze(1)


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None:
        raise ArchError(
            f"region_routing needs tokens on a grid, got a {site.domain} without one: use block_routing instead"
        )
    return site.grid


def _region_of_token(height: int, width: int, regions: int) -> Tensor:
    rows, columns = torch.arange(height) * regions // height, torch.arange(width) * regions // width
    return (rows[:, None] * regions + columns).flatten()


@lru_cache(maxsize=64)
def _layout(height: int, width: int, regions: int, device: torch.device) -> _Layout:
    with torch.inference_mode(False), torch.device("cpu"):
        region = _region_of_token(height, width, regions)
        sizes = region.bincount()
        real = torch.arange(int(sizes.max())) < sizes.unsqueeze(1)
        order = region.argsort(stable=True)
        token = torch.zeros(real.shape, dtype=torch.int64).masked_scatter(real, order)
        slot = real.flatten().nonzero().flatten()[order.argsort()]
        return _Layout(token.to(device), real.to(device), slot.to(device))
