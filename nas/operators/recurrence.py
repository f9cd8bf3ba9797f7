"""What operators on a linear scan have in common: decoding with grouped heads, and the flops of the scan."""

import torch
from torch import Tensor

from nas.kernels import scan
from nas.operators.contract import HeadKnobs

CHUNK_SIZE = 64


def decode(
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    state: scan.State | None,
    *,
    log_decay: Tensor | None = None,
    normalize: bool = False,
) -> tuple[Tensor, scan.State]:
    """The output `[B, H, 1, D]` of one token and the next state, which has one entry per kv head.

    Args:
        phi_q: Query features `[B, H, 1, F]`.
        phi_k: Key features `[B, Hkv, 1, F]`, Hkv divides H.
        v: Values `[B, Hkv, 1, D]`.
        state: What the earlier tokens left: `[B, Hkv, 1, F, D]` and `[B, Hkv, 1, F]`, None before the first.
        log_decay: Natural-log decay per kv head `[Hkv]`.
        normalize: Divide by phi_q . sum(phi_k).
    """
    dtype = v.dtype
    # long sums need float32 even where the features are narrower
    phi_q, phi_k, v = (part.to(torch.promote_types(dtype, torch.float32)) for part in (phi_q, phi_k, v))
    if state is None:
        state = scan.State(v.new_zeros(*phi_k.shape, v.shape[-1]), torch.zeros_like(phi_k))
    # the axis of the single token serves as the axis of the queries that share a kv head
    grouped = phi_q.reshape(*phi_k.shape[:2], -1, phi_q.shape[-1])
    decay = None if log_decay is None else log_decay.unsqueeze(-1)
    out, state = scan.step(state, grouped, phi_k, v, decay, normalize=normalize)
    return out.flatten(1, 2).unsqueeze(2).to(dtype), state


def prefilled(phi_k: Tensor, v: Tensor, *, log_decay: Tensor | None = None) -> scan.State:
    """The state that `decode` over these tokens would leave.

    Args:
        phi_k: Key features `[B, Hkv, T, F]`.
        v: Values `[B, Hkv, T, D]`.
        log_decay: Natural-log decay per kv head `[Hkv]`.
    """
    matrix, total = scan.final_state(phi_k, v, log_decay=log_decay)
    return scan.State(matrix.unsqueeze(2), total.unsqueeze(2))


def scan_flops(
    knobs: HeadKnobs, tokens: int, features: int, *, is_causal: bool, normalize: bool = False, decayed: bool = False
) -> int:
    """Flops of `scan.linear_attention` with `CHUNK_SIZE` on heads of `features` query and key features."""
    width = knobs.head_dim
    if not is_causal:
        reads = width + 1 if normalize else width
        return 2 * tokens * features * (knobs.num_kv_heads * width + knobs.num_heads * reads)
    size = min(CHUNK_SIZE, tokens)
    chunks = -(-tokens // size)
    inside = 2 * size**2 * (features + width + 1)
    through_state = 4 * size * features * (width + 1)
    across = 2 * (chunks + 1) ** 2 * features * (width + 1) if decayed else 0
    return knobs.num_heads * (chunks * (inside + through_state) + across)
