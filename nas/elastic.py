"""Parameters that run at several sizes: one weight axis per elastic size, so that every subnet is a leading corner."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Elastic(nn.Module):
    """A linear map from the trailing axes `inputs` to the trailing axes `outputs`, of any size up to the built one.

    Input sizes are read off the activation, output sizes are told: `[..., *inputs] -> [..., *outputs]`.
    """

    def __init__(self, outputs: tuple[int, ...], inputs: tuple[int, ...], *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*outputs, *inputs) / math.sqrt(math.prod(inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self._axes = len(inputs)

    def forward(self, x: Tensor, *outputs: int) -> Tensor:
        """The map's leading corner that fits `x` and `outputs`."""
        inputs = x.shape[-self._axes :]
        corner = self.weight[tuple(slice(size) for size in (*outputs, *inputs))]
        weight = corner.flatten(len(outputs)).flatten(0, -2)
        bias = None if self.bias is None else self.bias[tuple(map(slice, outputs))].flatten()
        return F.linear(x.flatten(-self._axes), weight, bias).reshape(*x.shape[: -self._axes], *outputs)


class ElasticNorm(nn.Module):
    """Layer normalisation over the last axis, whatever its size up to the built one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., C]` normalised with the first C gains and shifts."""
        width = x.shape[-1]
        return F.layer_norm(x, (width,), self.weight[:width], self.bias[:width])


class Projections(nn.Module):
    """The q, k, v and output maps of a block, shared by all operators that ask for them.

    Heads are leading heads of a fixed order and `head_dim` a leading slice, so any sizes are a corner. Query head h
    reads kv head h mod Hkv, so that more query heads leave those before them what they read. Operators have query heads
    group by group, first all that read kv head 0, and bring what they own of each head into that order (`by_group`).
    Where each has a kv head of its own, or all share one, both orders are the same, and Hkv may be left out.
    """

    def __init__(
        self, parts: frozenset[str], embed_dim: int, *, num_heads: int, num_kv_heads: int, head_dim: int
    ) -> None:
        super().__init__()
        inner, kv = (num_heads, head_dim), (num_kv_heads, head_dim)
        self.q = Elastic(inner, (embed_dim,)) if "q" in parts else None
        self.k = Elastic(kv, (embed_dim,)) if "k" in parts else None
        self.v = Elastic(kv, (embed_dim,)) if "v" in parts else None
        self.o = Elastic((embed_dim,), inner) if "o" in parts else None

    def query(self, x: Tensor, num_heads: int, head_dim: int, num_kv_heads: int = 1) -> Tensor:
        """`[B, T, C] -> [B, H, T, D]`."""
        return by_group(_heads(self.q, x, num_heads, head_dim), num_kv_heads, dim=1)

    def key(self, x: Tensor, num_kv_heads: int, head_dim: int) -> Tensor:
        """`[B, T, C] -> [B, Hkv, T, D]`."""
        return _heads(self.k, x, num_kv_heads, head_dim)

    def value(self, x: Tensor, num_kv_heads: int, head_dim: int) -> Tensor:
        """`[B, T, C] -> [B, Hkv, T, D]`."""
        return _heads(self.v, x, num_kv_heads, head_dim)

    def output(self, y: Tensor, embed_dim: int, num_kv_heads: int = 1) -> Tensor:
        """`[B, H, T, D] -> [B, T, C]`."""
        if self.o is None:
            raise LookupError("the operator did not declare projection 'o' in its `projections`")
        # undone by grouping into as many groups as a group has heads
        out: Tensor = self.o(by_group(y, y.shape[1] // num_kv_heads, dim=1).transpose(1, 2), embed_dim)
        return out


def by_group(x: Tensor, num_groups: int, dim: int = 0) -> Tensor:
    """The axis of heads 0, 1, 2, ... as 0, G, 2 G, ..., 1, G + 1, ... for G groups: all of a group side by side."""
    if num_groups in (1, x.shape[dim]):
        return x
    return torch.unflatten(x, dim, (-1, num_groups)).transpose(dim, dim + 1).flatten(dim, dim + 1)


def dealt(x: Tensor, count: int) -> Tensor:
    """Channels in turn to `count` heads, `[B, T, C] -> [B, H, T, C / H]`: channel c H + i is the c-th of head i.

    For heads that own a share of the channels. Were the shares stretches, a channel would change its head with the
    width, and one weight would have to serve both.
    """
    return x.view(*x.shape[:2], -1, count).permute(0, 3, 1, 2)


def gathered(y: Tensor) -> Tensor:
    """What `dealt` was given, `[B, H, T, C / H] -> [B, T, C]`."""
    return y.permute(0, 2, 3, 1).flatten(2)


def _heads(projection: Elastic | None, x: Tensor, heads: int, head_dim: int) -> Tensor:
    if projection is None:
        raise LookupError("the operator uses a projection that it did not declare in its `projections`")
    out: Tensor = projection(x, heads, head_dim)
    return out.transpose(1, 2)
