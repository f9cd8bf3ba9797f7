"""Feature maps of linear attention: phi(q) . phi(k) stands in for exp(q . k)."""

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.errors import ConfigError
from nas.kernels.frugal import learns

FEATURE_MAPS = ("elu_plus_one", "relu", "taylor2", "spherical", "hedgehog")
ANCHORS, RANDOM = 8, 8
YAT = 2.0 + 1e-2
"""c of the kernel x^2 / (c - 2 x) of unit vectors at cosine x."""


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1, positive, of which the result tells its own slope; differentiable once.

    Source: Transformers are RNNs, 2020.
    """
    mapped: Tensor = _EluPlusOne.apply(x) if learns(x) else F.elu(x) + 1.0  # type: ignore[no-untyped-call]
    return mapped


def relu(x: Tensor) -> Tensor:
    """max(x, 0) and a trace that keeps sums of features positive."""
    return F.relu(x) + 1e-6


def taylor2(x: Tensor) -> Tensor:
    """[1, x / r^(1/4), vec(x x^T) / sqrt(2 r)] of `[..., r]`, so that phi(q) . phi(k) = 1 + s + s^2 / 2 >= 1/2.

    s is q . k / sqrt(r). Source: Simple linear attention language models balance the recall-throughput tradeoff
    (Based), 2024.
    """
    rank = x.shape[-1]
    squares = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2) / math.sqrt(2.0 * rank)
    return torch.cat([torch.ones_like(x[..., :1]), x / rank**0.25, squares], dim=-1)


def spherical(x: Tensor) -> Tensor:
    """Positive features of `[..., r]` for the kernel c(x) = x^2 / (2 + eps - 2 x) of the cosine x, `[..., 64]`.

    One node of the kernel's integral, squares on fixed anchors times positive random features; the directions are the
    same everywhere. Source: SLAY: Geometry-Aware Spherical Linearized Attention with Yat-Kernel, 2026.
    """
    unit = F.normalize(x, dim=-1)
    anchors, random = (part[: x.shape[-1]].to(x) for part in _directions())
    node = 1.0 / YAT  # Gauss and Laguerre with one node: t = 1, weight 1
    exponents = math.sqrt(2.0 * node) * unit @ random - node
    squares = (unit @ F.normalize(anchors, dim=0)).square() / math.sqrt(ANCHORS)
    features = squares.unsqueeze(-1) * exponents.exp().unsqueeze(-2) / math.sqrt(RANDOM * YAT)
    return features.flatten(-2)


@lru_cache(maxsize=1)
def _directions() -> tuple[Tensor, Tensor]:
    """Anchors and random directions of up to 256 channels, a column each; fewer channels use the leading rows."""
    rng = torch.Generator().manual_seed(20260)
    return torch.randn(256, ANCHORS, generator=rng), torch.randn(256, RANDOM, generator=rng)


class Hedgehog(nn.Module):
    """[softmax(x W), softmax(-x W)] with a learned W per head: positive, and every row sums to 2.

    Fewer heads or a narrower head use the leading corner of W. Source: The Hedgehog and the Porcupine, 2024.
    """

    def __init__(self, max_heads: int, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(head_dim).repeat(max_heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, H, T, 2 D]` of x `[B, H, T, D]`."""
        num_heads, head_dim = x.shape[1], x.shape[3]
        projected = x @ self.weight[:num_heads, :head_dim, :head_dim]
        return torch.cat([projected.softmax(-1), (-projected).softmax(-1)], dim=-1)


def feature_dim(name: str, head_dim: int) -> int:
    """Width of the named feature map's output for a head of `head_dim`.

    Raises:
        ConfigError: For an unknown name.
    """
    widths = {
        "elu_plus_one": head_dim,
        "relu": head_dim,
        "taylor2": 1 + head_dim + head_dim**2,
        "spherical": ANCHORS * RANDOM,
        "hedgehog": 2 * head_dim,
    }
    if name not in widths:
        raise ConfigError(f"feature_map must be one of {', '.join(FEATURE_MAPS)}, got {name!r}.")
    return widths[name]


class _EluPlusOne(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # products copy what is not contiguous, and would keep that copy as well
        mapped = F.elu(x).add_(1.0).contiguous()
        ctx.save_for_backward(mapped)
        return mapped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mapped,) = ctx.saved_tensors
        slope: Tensor = mapped.clamp(max=1.0)
        return grad * slope
