"""Exact softmax attention in chunks of queries and keys: memory that does not grow with the product of both lengths.

"Self-attention Does Not Need O(n^2) Memory" (2021). The fused kernel of PyTorch does the same inside; this one is for
what it does not take: gradients through an additive bias, weights of other forms, devices without it.
"""

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nas.errors import ConfigError
from nas.kernels.attention import repeat_heads

Summary = tuple[Tensor, Tensor, Tensor]
"""Of a query over some keys: weighted values `[B, H, T, Dv]`, sum of weights and greatest score `[B, H, T, 1]`."""


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    is_causal: bool = False,
    bias: Tensor | None = None,
    query_chunk: int = 1024,
    key_chunk: int = 4096,
) -> Tensor:
    """softmax(q k^T / sqrt D + bias) v `[B, H, T, Dv]`; rows without a visible key are zero.

    Args:
        q: Queries `[B, H, T, D]`.
        k: Keys `[B, Hkv, S, D]`, Hkv divides H.
        v: Values `[B, Hkv, S, Dv]`.
        is_causal: Hide later keys; T = S.
        bias: Added to the scores, broadcastable to `[B, H, T, S]`; -inf hides a pair.
        query_chunk: Queries at a time.
        key_chunk: Keys at a time; their scores are computed again for the gradient.

    Raises:
        ConfigError: For chunks of less than one, or a causal order between different lengths.
    """
    if min(query_chunk, key_chunk) < 1:
        raise ConfigError(f"chunks must hold at least one token, got {query_chunk} and {key_chunk}.")
    if is_causal and q.shape[2] != k.shape[2]:
        raise ConfigError(f"a causal order needs as many queries as keys, got {q.shape[2]} and {k.shape[2]}.")
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    outputs = []
    for start in range(0, q.shape[2], query_chunk):
        stop = min(start + query_chunk, q.shape[2])
        last = stop if is_causal else k.shape[2]
        own = None if bias is None else bias[..., start:stop, :] if bias.shape[-2] > 1 else bias
        outputs.append(
            _rows(q[:, :, start:stop], k[:, :, :last], v[:, :, :last], own, start, key_chunk, is_causal=is_causal)
        )
    return torch.cat(outputs, dim=2)


def _rows(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, first: int, key_chunk: int, *, is_causal: bool
) -> Tensor:
    total: Summary | None = None
    for start in range(0, k.shape[2], key_chunk):
        stop = min(start + key_chunk, k.shape[2])
        own = None if bias is None else bias[..., start:stop] if bias.shape[-1] > 1 else bias
        offset = first - start if is_causal and stop > first else None
        part: Summary = checkpoint(
            _summary, q, k[:, :, start:stop], v[:, :, start:stop], own, offset, use_reentrant=False
        )
        total = part if total is None else _joined(total, part)
    if total is None:
        return q.new_zeros(*q.shape[:3], v.shape[-1])
    values, weights, _ = total
    return torch.where(weights > 0, values / weights.clamp_min(torch.finfo(values.dtype).tiny), 0.0)


def _summary(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, offset: int | None) -> Summary:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    if offset is not None:  # query i sees keys up to i + offset
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(offset + 1)
        scores = scores.masked_fill(hidden, -torch.inf)
    # a chunk that is hidden as a whole has no greatest score; zero in its place keeps all finite
    greatest = scores.amax(-1, keepdim=True).detach()
    greatest = greatest.masked_fill(greatest == -torch.inf, torch.finfo(scores.dtype).min)
    weights = (scores - greatest).exp()
    return weights @ v, weights.sum(-1, keepdim=True), greatest


def _joined(one: Summary, other: Summary) -> Summary:
    greatest = torch.maximum(one[2], other[2])
    left, right = ((part[2] - greatest).exp() for part in (one, other))
    return left * one[0] + right * other[0], left * one[1] + right * other[1], greatest
