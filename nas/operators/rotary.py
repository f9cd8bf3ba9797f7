"""Places of tokens as turns of pairs of channels.

"RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021).
"""

import torch
from torch import Tensor

SLOWEST, PAIRS = 10000.0, 32


def turned(x: Tensor, first: int) -> Tensor:
    """Pairs `[..., T, P, 2]` turned by the places of their tokens, the first of which is `first`, `[..., T, 2P]`."""
    places = torch.arange(first, first + x.shape[-3], device=x.device, dtype=x.dtype)
    angles = places[:, None] * rates(x.shape[-2], x)
    cos, sin, (a, b) = angles.cos(), angles.sin(), x.unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


def rates(pairs: int, like: Tensor) -> Tensor:
    """Radians per token of the first pairs, `[P]`."""
    return SLOWEST ** -(torch.arange(pairs, device=like.device, dtype=like.dtype) / PAIRS)


def turned_heads(x: Tensor, first: int) -> Tensor:
    """Heads `[..., T, D]` whose channels are taken in pairs; one that is left over stays."""
    pairs = x.shape[-1] // 2
    turning = x[..., : 2 * pairs].reshape(*x.shape[:-1], pairs, 2)
    return torch.cat((turned(turning, first), x[..., 2 * pairs :]), dim=-1)
