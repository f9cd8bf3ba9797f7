"""Each token of the grid attends to itself and to those of its neighbours that resemble it most.

"DMT-JEPA: Discriminative Masked Targets for Joint-Embedding Predictive Architecture" (2024): how its targets choose
what they aggregate, as a token mixer. The paper's neighbourhoods wrap around the image, here they shift inwards.

    N(i) = the kernel_size x kernel_size window around i, as in neighbourhood attention, without i
    S(i) = i and the topk tokens j of N(i) of greatest cosine of x_i and x_j [C], one choice for all heads, no gradient
    q [B,Hq,T,D], k, v [B,Hkv,T,D];  y_i = softmax(q_i k^T / sqrt D over S(i)) v;  out = y W_o

All neighbours chosen is neighbourhood attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Projections
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import KV, Context, Cost, Operator, Site, projection_cost, qkv
from nas.operators.sparse import neighborhood


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(neighborhood.Knobs):
    """Heads, side of the window, and neighbours per token (more than a small grid has means all)."""

    topk: int

    def __post_init__(self) -> None:
        neighborhood.Knobs.__post_init__(self)
        if self.topk >= self.kernel_size**2:
            raise ArchError(
                f"topk must be at most kernel_size^2 - 1 = {self.kernel_size**2 - 1}, got {self.topk}: "
                "lower it or raise kernel_size"
            )

    def visible(self, grid: tuple[int, int]) -> int:
        """Keys of a token, itself included."""
        return min(self.topk + 1, min(self.kernel_size, grid[0]) * min(self.kernel_size, grid[1]))


class Mixer(Operator[Knobs]):
    """A few gathered keys per token: level with full attention on 32 x 32 tokens, ahead only beyond."""

    knobs_type = Knobs
    suggested = {"kernel_size": (5, 3), "topk": (8, 4, 2)}
    domains = frozenset(("image",))
    publishes = KV

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        # cached now, since tensors have no values while a model is being exported
        for knobs in choices:
            _neighbors(*_grid(site), knobs.kernel_size, torch.device("cpu"))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA of one query per token on its own gathered keys."""
        q, k, v = qkv(x, projections, knobs, context)
        grid = _grid(context.site)
        near = _neighbors(*grid, knobs.kernel_size, x.device)
        chosen = _most_similar(x, near, knobs.visible(grid))
        keys, values = (_gathered(part, chosen) for part in (k, v))
        y = attention.decode(q.transpose(1, 2).flatten(0, 1).unsqueeze(2), keys, values)
        return projections.output(
            torch.unflatten(y.squeeze(2), 0, x.shape[:2]).transpose(1, 2), x.shape[-1], knobs.num_kv_heads
        )

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax; all pairs are compared and ranked by sorting."""
        q, k, v = qkv(x, projections, knobs, context)
        near = neighborhood.Mixer.mask(knobs, context.site, x.shape[1]).to(x.device)
        cosine = F.cosine_similarity(x.unsqueeze(1), x.unsqueeze(2), dim=-1).detach()
        own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        order = cosine.masked_fill(own, torch.inf).masked_fill(~near, -torch.inf).argsort(-1, descending=True)
        mask = near & (order.argsort(-1) < knobs.topk + 1)
        return projections.output(attention.reference(q, k, v, mask.unsqueeze(1)), x.shape[-1], knobs.num_kv_heads)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Needs a grid."""
        _grid(site)

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """The chosen pairs, and the comparison of all neighbours where not all are chosen."""
        grid = _grid(site)
        visible, near = knobs.visible(grid), min(knobs.kernel_size, grid[0]) * min(knobs.kernel_size, grid[1])
        compared = 2 * site.tokens * near * site.embed_dim if visible < near else 0
        inner = Cost(
            flops=4 * knobs.num_heads * knobs.head_dim * site.tokens * visible + compared,
            kv_cache_bytes=8 * knobs.num_kv_heads * knobs.head_dim * site.tokens,
            pairs=site.tokens * visible,
        )
        return projection_cost(knobs, site) + inner

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The head width."""
        return knobs.head_dim


@torch.no_grad()
def _most_similar(x: Tensor, near: Tensor, count: int) -> Tensor:
    """Chosen tokens `[B, T, count]` of the candidates `[T, n]`, each token itself among them."""
    if count == near.shape[1]:
        return near.expand(x.shape[0], -1, -1)
    unit = F.normalize(x, dim=-1)
    cosine = (unit[:, near] @ unit.unsqueeze(-1)).squeeze(-1)
    own = near == torch.arange(x.shape[1], device=x.device).unsqueeze(-1)
    best = cosine.masked_fill(own, torch.inf).topk(count, dim=-1).indices
    return near.expand(x.shape[0], -1, -1).gather(2, best)


def _gathered(x: Tensor, chosen: Tensor) -> Tensor:
    """Tokens `[B, T, n]` of `[B, H, T, D]`, a batch of its own for each query: `[B T, H, n, D]`."""
    batch, tokens = chosen.shape[:2]
    first = tokens * torch.arange(batch, device=x.device).view(-1, 1, 1)
    rows = x.transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, (first + chosen).flatten())
    return rows.view(batch * tokens, -1, x.shape[1], x.shape[3]).transpose(1, 2)


def _grid(site: Site) -> tuple[int, int]:
    if site.grid is None:
        raise ArchError(
            f"similar_neighbors needs tokens on a grid, got a {site.domain} without one: use top_keys instead"
        )
    return site.grid


@lru_cache(maxsize=64)
def _neighbors(height: int, width: int, kernel_size: int, device: torch.device) -> Tensor:
    """Tokens of the window around each token, itself included, `[T, n]`."""
    with torch.inference_mode(False), torch.device("cpu"):
        rows, columns = _axis(height, kernel_size), _axis(width, kernel_size)
        table = rows[:, None, :, None] * width + columns[None, :, None, :]
        return table.reshape(height * width, -1).to(device)


def _axis(length: int, kernel_size: int) -> Tensor:
    """Positions of the window around each position of an axis."""
    size = min(kernel_size, length)
    start = (torch.arange(length) - kernel_size // 2).clamp(0, length - size)
    return start.unsqueeze(-1) + torch.arange(size)
