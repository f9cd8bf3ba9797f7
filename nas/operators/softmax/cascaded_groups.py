"""Heads in a row: each sees its own share of the channels and what the head before it gave, inside square windows.

"CascadedViT: Cascaded Chunk-FeedForward and Cascaded Group Attention Vision Transformer" (2025), after "EfficientViT:
Memory Efficient Vision Transformer with Cascaded Group Attention" (2023).

    x_1 .. x_H [B,T,C/H], every H-th channel;  u_1 = x_1, u_i = x_i + o_{i-1}
    q_i = dw_k(u_i W_q), k_i, v_i [C/H] from u_i
    o_i = softmax(q_i k_i^T / sqrt D + b_i) v_i in windows of w x w, b_i by |offset|;  out = relu([o_1 .. o_H]) W
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, Projections, dealt, gathered
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, Operator, Site
from nas.operators.taps import check_kernel, convolved, convolved_slowly, grid_of, offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, width of their keys, edge of the windows, and the kernel over queries."""

    num_heads: int
    key_dim: int
    window_size: int
    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Projections shrink by the number of heads; heads run one after another, which products alone do not tell."""

    knobs_type = Knobs
    suggested = {"key_dim": (16,), "window_size": (14, 7), "kernel_size": (5, 3)}
    domains = frozenset(("image",))
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, keys = max(one.num_heads for one in choices), max(one.key_dim for one in choices)
        part = max(max(1, site.embed_dim // one.num_heads) for one in choices)
        self.q, self.k = _maps(heads, keys, part), _maps(heads, keys, part)
        self.v = _maps(heads, part, part)
        taps = max(len(offsets(one.kernel_size, site.domain)) for one in choices)
        self.taps = nn.Parameter(torch.randn(heads, keys, taps) / math.sqrt(taps))
        edge = max(one.window_size for one in choices)
        self.bias = nn.Parameter(torch.zeros(heads, edge, edge))
        self.o = Elastic((site.embed_dim,), (site.embed_dim,))

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA over windows, head by head."""
        return self._cascade(x, knobs, lambda head, u: self._windowed(head, u, knobs, context.site))

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Full attention with everything outside the token's window hidden."""
        return self._cascade(x, knobs, lambda head, u: self._masked(head, u, knobs, context.site))

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Whole windows, those over the edge filled up; keys and values at the larger of both widths."""
        part, edge = site.embed_dim // knobs.num_heads, knobs.window_size
        taps = len(offsets(knobs.kernel_size, site.domain))
        own = knobs.key_dim * (2 * part + taps) + part**2
        windows = math.prod(-(-length // edge) for length in grid_of(site))
        params = knobs.num_heads * own + site.embed_dim**2
        inner = windows * edge**4 * max(knobs.key_dim, part) * knobs.num_heads
        rows, columns = (_inside(length, edge) for length in grid_of(site))
        return Cost(
            params=params + knobs.num_heads * edge**2,
            flops=2 * site.tokens * params + 4 * inner,
            kv_cache_bytes=4 * knobs.num_heads * (knobs.key_dim + part) * site.tokens,
            pairs=rows * columns,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of the keys."""
        return knobs.key_dim

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """Heads divide the channels; images need a grid."""
        if site.embed_dim % knobs.num_heads:
            raise ArchError(f"num_heads must divide the {site.embed_dim} channels, got {knobs.num_heads}: change one")
        grid_of(site)

    def _cascade(self, x: Tensor, knobs: Knobs, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        outputs: list[Tensor] = []
        for head, part in enumerate(dealt(x, knobs.num_heads).unbind(1)):
            outputs.append(attend(head, part + outputs[-1] if outputs else part))
        out: Tensor = self.o(gathered(torch.stack(outputs, dim=1)).relu(), x.shape[-1])
        return out

    def _qkv(self, head: int, u: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        part, keys = u.shape[-1], knobs.key_dim
        q, k = (F.linear(u, weight[head, :keys, :part]) for weight in (self.q, self.k))
        return q, k, F.linear(u, self.v[head, :part, :part])

    def _windowed(self, head: int, u: Tensor, knobs: Knobs, site: Site) -> Tensor:
        q, k, v = self._qkv(head, u, knobs)
        q = convolved(q, self.taps[head], knobs.kernel_size, site)
        edge, grid = knobs.window_size, grid_of(site)
        parts = [_split(part, grid, edge) for part in (q, k, v)]
        # padded tokens are told apart by a channel of ones that only real ones have
        real = _split(u.new_ones(1, u.shape[1], 1), grid, edge)[..., 0]
        mask = self._offsets(head, edge) + torch.zeros_like(real).masked_fill(real == 0, float("-inf"))[:, None]
        mask = mask.repeat(u.shape[0], 1, 1).unsqueeze(1)
        y = attention.dense(*(part.unsqueeze(1) for part in parts), mask=mask).squeeze(1)
        return _join(y, grid, edge, u.shape[0])

    def _masked(self, head: int, u: Tensor, knobs: Knobs, site: Site) -> Tensor:
        q, k, v = self._qkv(head, u, knobs)
        q = convolved_slowly(q, self.taps[head], knobs.kernel_size, site)
        edge, (height, width) = knobs.window_size, grid_of(site)
        places = [(t // width, t % width) for t in range(height * width)]
        rows = []
        for t, (i, j) in enumerate(places):
            near = [s for s, (m, n) in enumerate(places) if (m // edge, n // edge) == (i // edge, j // edge)]
            bias = torch.stack([self.bias[head, abs(i - places[s][0]), abs(j - places[s][1])] for s in near])
            scores = (q[:, t, None] * k[:, near]).sum(-1) / math.sqrt(knobs.key_dim) + bias
            rows.append((scores.softmax(-1).unsqueeze(-1) * v[:, near]).sum(1))
        return torch.stack(rows, dim=1)

    def _offsets(self, head: int, edge: int) -> Tensor:
        """Bias of every pair in a window, `[w^2, w^2]`."""
        at = torch.arange(edge, device=self.bias.device)
        rows, columns = at.repeat_interleave(edge), at.repeat(edge)
        return self.bias[head][(rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()]


def _maps(heads: int, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(heads, rows, columns) / math.sqrt(columns))


def _split(x: Tensor, grid: tuple[int, int], edge: int) -> Tensor:
    """`[B, T, D]` to `[B * windows, w^2, D]`, zeros beyond the edges."""
    height, width = grid
    padding = (0, 0, 0, -width % edge, 0, -height % edge)
    image = F.pad(x.view(x.shape[0], height, width, -1), padding)
    batch, rows, columns, channels = image.shape
    windows = image.view(batch, rows // edge, edge, columns // edge, edge, channels).transpose(2, 3)
    return windows.reshape(-1, edge**2, channels)


def _join(windows: Tensor, grid: tuple[int, int], edge: int, batch: int) -> Tensor:
    """Back to `[B, T, D]`."""
    rows, columns = (-(-length // edge) for length in grid)
    image = windows.view(batch, rows, columns, edge, edge, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return image[:, : grid[0], : grid[1]].flatten(1, 2)


def _inside(length: int, edge: int) -> int:
    """Pairs along one axis that share a window."""
    whole, rest = divmod(length, edge)
    return whole * edge**2 + rest**2
