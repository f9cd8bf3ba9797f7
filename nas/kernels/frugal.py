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
    if _learns(*(x for x in (q, k, v, log_weights) if x is not None)):
        product: Tensor = _CausalProduct.apply(q, k, v, log_weights)  # type: ignore[no-untyped-call]
        return product
    return _weighed(q, k, log_weights) @ v


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1, positive, of which the result tells its own slope; differentiable once.

    Source: Transformers are RNNs, 2020.
    """
    mapped: Tensor = _EluPlusOne.apply(x) if _learns(x) else F.elu(x) + 1.0  # type: ignore[no-untyped-call]
    return mapped


def _learns(*tensors: Tensor) -> bool:
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
