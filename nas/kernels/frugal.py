"""Parts of linear attention that remember less for the backward pass than autograd would: it computes them again.

"FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness" (2022) for the recomputation.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def causal_product(q: Tensor, k: Tensor, v: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """(q k^T * weights) v `[..., T, D]`, differentiable once; no `[T, T]` is kept but the weights' logarithms.

    Args:
        q: `[..., T, F]`.
        k: `[..., T, F]`.
        v: `[..., T, D]`.
        log_weights: Broadcasts to `[..., T, T]`, -inf where a position is not seen; without it all earlier ones and a
            position itself are seen alike.
    """
    if learns(*(x for x in (q, k, v, log_weights) if x is not None)):
        product: Tensor = _CausalProduct.apply(q, k, v, log_weights)  # type: ignore[no-untyped-call]
        return product
    return _weighed(q, k, log_weights) @ v


def weighted_sum(k: Tensor, v: Tensor, weights: Tensor) -> Tensor:
    """(k * weights)^T v `[..., F, D]`, differentiable once; the weighted keys are not kept.

    Args:
        k: `[..., T, F]`.
        v: `[..., T, D]`.
        weights: Of each row, broadcasts to `[..., T, 1]`.
    """
    if learns(k, v, weights):
        total: Tensor = _WeightedSum.apply(k, v, weights)  # type: ignore[no-untyped-call]
        return total
    return (k * weights).transpose(-1, -2) @ v


def gated_norm(x: Tensor, gates: Tensor, axes: int = 1) -> Tensor:
    """x over the root mean square of its last axes, times the gates, which broadcast to it; differentiable once.

    Source: "Root Mean Square Layer Normalization", 2019.
    """
    if learns(x, gates):
        gated: Tensor = _GatedNorm.apply(x, gates, axes)  # type: ignore[no-untyped-call]
        return gated
    return F.rms_norm(x, x.shape[-axes:]) * gates


def learns(*tensors: Tensor) -> bool:
    """Whether a backward pass will ask for one of these."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _weighed(rows: Tensor, columns: Tensor, log_weights: Tensor | None) -> Tensor:
    products = rows @ columns.transpose(-1, -2)
    return products.tril_() if log_weights is None else products.mul_(log_weights.exp())


class _CausalProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(q, k, v, log_weights)
        weighed: Tensor = _weighed(q, k, log_weights) @ v
        return weighed.to(v.dtype)  # a mixed-precision product, and the gradient would have its type

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        q, k, v, log_weights = ctx.saved_tensors
        weights, of_logs = _weighed(q, k, log_weights), None
        of_v = weights.transpose(-1, -2) @ grad
        if ctx.needs_input_grad[3]:
            of_logs = weights.mul_(grad @ v.transpose(-1, -2)).sum_to_size(log_weights.shape)
        del weights  # as large as what follows
        of_products = _weighed(grad, v, log_weights)
        return of_products @ k, of_products.transpose(-1, -2) @ q, of_v, of_logs


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(k, v, weights)
        total: Tensor = (k * weights).transpose(-1, -2) @ v
        return total.to(v.dtype)  # as in a causal product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        k, v, weights = ctx.saved_tensors
        of_v = (k * weights) @ grad
        of_weighted = v @ grad.transpose(-1, -2)
        of_weights = (of_weighted * k).sum_to_size(weights.shape) if ctx.needs_input_grad[2] else None
        return of_weighted * weights, of_v, of_weights


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, axes: int) -> Tensor:
        ctx.save_for_backward(x, gates)
        ctx.axes = axes
        return F.rms_norm(x, x.shape[-axes:]) * gates

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, gates = ctx.saved_tensors
        axes, kind = tuple(range(-ctx.axes, 0)), torch.promote_types(x.dtype, torch.float32)
        wide, grad = x.to(kind), grad.to(kind)
        scale = wide.square().mean(axes, keepdim=True).add_(torch.finfo(kind).eps).rsqrt_()
        normed, of_normed = wide * scale, grad * gates
        of_x = (of_normed - normed * (of_normed * normed).mean(axes, keepdim=True)).mul_(scale)
        return of_x.to(x.dtype), normed.mul_(grad).sum_to_size(gates.shape).to(gates.dtype), None
