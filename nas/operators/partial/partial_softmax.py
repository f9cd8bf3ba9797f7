"""Softmax attention on a share of the channels with narrow keys; the other channels pass it by.

"SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design" (2024), with one head; the local term of the
values is that of partial self-attention in "YOLO9tr" (2024) and "YOLOv10" (2024), whose FFN on the attended half is
left to the block's own.

    x1 = m = C share / 100 channels, spread evenly;  q, k [B,H,T,D], v [B,H,T,m/H] from x1
    y = softmax(q k^T / sqrt D) v + (k x k depthwise convolution of v, where kernel_size > 1)
    out = relu(x with y in the place of x1) W with W [C,C]

The papers take the first m channels. Of those a narrower subnet has fewer, so that a channel would attend at one width
and pass at another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.elastic import Elastic, Projections, gathered
from nas.errors import ArchError
from nas.kernels import attention
from nas.operators import contract
from nas.operators.contract import Context, Cost, KeyValues, Operator, Site
from nas.operators.taps import (
    check_kernel,
    convolved,
    convolved_last,
    convolved_slowly,
    grid_of,
    new_taps,
    offsets,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs(contract.Knobs):
    """Heads, width of their keys, per cent of channels that attend, and the kernel of the local term (1: none)."""

    num_heads: int
    key_dim: int
    share: int
    kernel_size: int

    def __post_init__(self) -> None:
        contract.Knobs.__post_init__(self)
        check_kernel(self.kernel_size)


class Mixer(Operator[Knobs]):
    """Owns its projections, which are narrower than the block's."""

    knobs_type = Knobs
    suggested = {"key_dim": (16,), "share": (50, 25, 100), "kernel_size": (3, 1)}
    projections = frozenset()

    def __init__(self, choices: Sequence[Knobs], site: Site) -> None:
        super().__init__(choices, site)
        heads, width = max(one.num_heads for one in choices), site.embed_dim
        keys = (heads, max(one.key_dim for one in choices))
        attended = max(width * one.share // 100 for one in choices)
        value = max(max(1, width * one.share // 100 // one.num_heads) for one in choices)
        self.q, self.k = Elastic(keys, (attended,)), Elastic(keys, (attended,))
        self.v = Elastic((heads, value), (attended,))
        self.o = Elastic((width,), (width,))
        sizes = [one.kernel_size for one in choices if one.kernel_size > 1]
        self.taps = new_taps(attended, sizes, site.domain) if sizes else None
        for share in {one.share for one in choices}:
            self.register_buffer(f"attended_{share}", _attended(width, share), persistent=False)

    def forward(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """SDPA, and one grouped convolution."""
        q, k, v = self._qkv(x, knobs)
        y = gathered(attention.dense(q, k, v, is_causal=context.site.is_causal))
        if knobs.kernel_size > 1 and self.taps is not None:
            y = y + convolved(gathered(v), self.taps, knobs.kernel_size, context.site)
        return self._output(y, x, knobs)

    def reference(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> Tensor:
        """Explicit softmax, and a sum over shifted values."""
        q, k, v = self._qkv(x, knobs)
        mask = x.new_ones(x.shape[1], x.shape[1]).tril().bool() if context.site.is_causal else None
        y = gathered(attention.reference(q, k, v, mask))
        if knobs.kernel_size > 1 and self.taps is not None:
            y = y + convolved_slowly(gathered(v), self.taps, knobs.kernel_size, context.site)
        return self._output(y, x, knobs)

    def step(
        self, x: Tensor, projections: Projections, knobs: Knobs, context: Context, state: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """One decoded token; the state is k and v of all tokens so far."""
        q, k, v = self._qkv(x, knobs)
        if state is not None:
            k, v = torch.cat((state[0], k), dim=2), torch.cat((state[1], v), dim=2)
        y = gathered(attention.decode(q, k, v))
        if knobs.kernel_size > 1 and self.taps is not None:
            y = y + convolved_last(gathered(v), self.taps, knobs.kernel_size)
        return self._output(y, x, knobs), (k, v)

    def prefill(self, x: Tensor, projections: Projections, knobs: Knobs, context: Context) -> KeyValues:
        """k and v of the tokens."""
        _, k, v = self._qkv(x, knobs)
        return k.contiguous(), v.contiguous()

    @classmethod
    def cost(cls, knobs: Knobs, site: Site) -> Cost:
        """Scores and sums at the larger of both widths, which the fused kernel pads to."""
        attended, keys = site.embed_dim * knobs.share // 100, knobs.num_heads * knobs.key_dim
        taps = len(offsets(knobs.kernel_size, site.domain)) if knobs.kernel_size > 1 else 0
        params = attended * (2 * keys + attended + taps) + site.embed_dim**2
        widest = max(keys, attended)
        return Cost(
            params=params,
            flops=2 * site.tokens * params + 4 * widest * site.tokens**2,
            kv_cache_bytes=4 * (keys + attended) * site.tokens,
            pairs=site.allowed_pairs,
        )

    @classmethod
    def rank(cls, knobs: Knobs, site: Site) -> int:
        """The width of keys, or of values if that is less."""
        return min(knobs.key_dim, site.embed_dim * knobs.share // 100 // knobs.num_heads)

    @classmethod
    def check(cls, knobs: Knobs, site: Site) -> None:
        """The attended channels divide among the heads; images need a grid."""
        attended = site.embed_dim * knobs.share // 100
        if not 0 < attended <= site.embed_dim or attended % knobs.num_heads:
            raise ArchError(
                f"share must leave num_heads={knobs.num_heads} equal parts of the {site.embed_dim} channels, got "
                f"{knobs.share} per cent, {attended} channels: change one"
            )
        if site.domain == "image":
            grid_of(site)

    def _qkv(self, x: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor, Tensor]:
        part = x.index_select(-1, self._index(x, knobs))
        attended = part.shape[-1]
        keys = knobs.num_heads, knobs.key_dim
        q, k = self.q(part, *keys), self.k(part, *keys)
        v = self.v(part, knobs.num_heads, attended // knobs.num_heads)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _output(self, y: Tensor, x: Tensor, knobs: Knobs) -> Tensor:
        out: Tensor = self.o(x.index_copy(-1, self._index(x, knobs), y).relu(), x.shape[-1])
        return out

    def _index(self, x: Tensor, knobs: Knobs) -> Tensor:
        index: Tensor = getattr(self, f"attended_{knobs.share}")
        return index[: x.shape[-1] * knobs.share // 100]


def _attended(width: int, share: int) -> Tensor:
    """The channels that attend: which of the first n do, does not depend on how many follow."""
    ends = [channel * share // 100 for channel in range(width + 1)]
    return torch.tensor([at for at in range(width) if ends[at] < ends[at + 1]])
