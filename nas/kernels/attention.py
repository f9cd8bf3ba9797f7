"""Softmax attention: the explicit reference, PyTorch's fused kernel, and block gathering for sparse patterns."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.errors import ConfigError
from nas.kernels.visibility import Visibility, dense_mask, gathered_mask, prefers_gather

Executor = Literal["auto", "dense", "gather"]


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Explicit softmax(q k^T / sqrt(head_dim)) v, `[B, H, T, Dv]`; rows without a visible key are zero.

    Args:
        q: Queries `[B, H, T, D]`.
        k: Keys `[B, Hkv, S, D]`, Hkv divides H.
        v: Values `[B, Hkv, S, Dv]`.
        mask: True where a pair is visible, broadcastable to `[B, H, T, S]`.
    """
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1) @ v
    # a large finite score instead of -inf keeps empty rows and their gradients finite
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0) @ v


def dense(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """The same through the fused kernel, for any head width of v.

    Args:
        q: Queries `[B, H, T, D]`.
        k: Keys `[B, Hkv, S, D]`, Hkv divides H.
        v: Values `[B, Hkv, S, Dv]`.
        is_causal: Hide later keys; excludes `mask`.
        mask: True where a pair is visible, broadcastable to `[B, H, T, S]`.
    """
    width, value_width = q.shape[-1], v.shape[-1]
    # unequal widths would fall back to the slow kernel, zero columns do not change the result
    q, k, v = (_pad_width(x, max(width, value_width)) for x in (q, k, v))
    grouped = k.shape[1] != q.shape[1]
    scale = 1.0 / math.sqrt(width)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=grouped)
    return out[..., :value_width]


def decode(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """`dense` for one query `[B, H, 1, D]` that sees all S keys but the masked ones, `[B, H, 1, Dv]`.

    The query heads of a kv head become its queries, so its keys are read once for all of them.
    """
    # 8 query heads on 512 keys of 2 kv heads, head width 16, one CPU thread: 10 us, and 18 through repeated heads
    groups = q.shape[0], k.shape[1], -1
    if mask is not None:
        mask = mask.expand(*q.shape[:3], -1).reshape(*groups, k.shape[2])
    return dense(q.reshape(*groups, q.shape[3]), k, v, mask=mask).reshape(*q.shape[:3], v.shape[3])


def sparse(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility, executor: Executor = "auto") -> Tensor:
    """Softmax attention over the visible pairs, `[B, H, T, Dv]`; rows without a visible key are zero.

    Args:
        q: Queries `[B, H, T, D]`.
        k: Keys `[B, Hkv, T, D]`, Hkv divides H.
        v: Values `[B, Hkv, T, Dv]`.
        visibility: The pattern, on the device of q.
        executor: "dense" masks full attention, "gather" collects the listed blocks, "auto" takes the cheaper one.

    Raises:
        ConfigError: For an unknown executor or a sequence length other than the pattern's.
    """
    if executor not in ("auto", "dense", "gather"):
        raise ConfigError(f"executor must be auto, dense or gather, got {executor!r}.")
    if not q.shape[2] == k.shape[2] == visibility.tokens:
        raise ConfigError(
            f"the pattern is for {visibility.tokens} tokens, got {q.shape[2]} queries and {k.shape[2]} keys; "
            "build it for this length."
        )
    if executor == "gather" or (executor == "auto" and prefers_gather(visibility)):
        return _gather_attention(q, k, v, visibility)
    return dense(q, k, v, mask=dense_mask(visibility) if visibility.full is None else visibility.full)


def repeat_heads(x: Tensor, num_heads: int) -> Tensor:
    """Each of the Hkv heads of `[B, Hkv, T, D]` repeated in place to `num_heads` heads."""
    return x if x.shape[1] == num_heads else x.repeat_interleave(num_heads // x.shape[1], dim=1)


def _gather_attention(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility) -> Tensor:
    num_heads, order = q.shape[1], visibility.order
    k, v = repeat_heads(k, num_heads), repeat_heads(v, num_heads)
    if order is not None:
        q, k, v = (x.index_select(2, order) for x in (q, k, v))
    mask = gathered_mask(visibility) if visibility.gathered is None else visibility.gathered
    blocks = _split_blocks(q, visibility)
    keys = _take_blocks(_split_blocks(k, visibility), visibility.lists)
    values = _take_blocks(_split_blocks(v, visibility), visibility.lists)
    out = _fold_attention(blocks, keys, values, mask)
    out = out.flatten(2, 3)[:, :, : visibility.tokens]
    return out if order is None else out.index_select(2, order.argsort())


def _fold_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention inside each block, `[B, H, blocks, ...]`; two axes fold into one since the fused kernel takes four."""
    batch, num_heads = q.shape[:2]
    if mask.shape[0] == mask.shape[1] == 1:
        out = dense(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask=mask[0])
        return out.view(batch, num_heads, *out.shape[1:])
    mask = mask.expand(-1, num_heads, -1, -1, -1).flatten(1, 2)
    out = dense(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), mask=mask)
    return out.view(batch, num_heads, -1, *out.shape[2:])


def _split_blocks(x: Tensor, visibility: Visibility) -> Tensor:
    """`[B, H, T, D]` to `[B, H, blocks, block_size, D]`, zero padded."""
    padding = visibility.num_blocks * visibility.block_size - x.shape[2]
    x = F.pad(x, (0, 0, 0, padding)) if padding else x
    return x.reshape(*x.shape[:2], visibility.num_blocks, visibility.block_size, x.shape[3])


def _take_blocks(x: Tensor, lists: Tensor) -> Tensor:
    """Listed blocks side by side, `[B, H, blocks, key_blocks * block_size, D]`; padded entries repeat block 0."""
    batch, num_heads, num_blocks, block_size, width = x.shape
    index = lists.clamp_min(0)
    if lists.shape[0] == lists.shape[1] == 1:
        taken = x.index_select(2, index.flatten())
    else:
        first = torch.arange(batch * num_heads, device=x.device).view(batch, num_heads, 1, 1) * num_blocks
        taken = x.flatten(0, 2).index_select(0, (first + index).flatten())
    return taken.view(batch, num_heads, num_blocks, -1, width)


def _pad_width(x: Tensor, width: int) -> Tensor:
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))
