"""Linear attention o_t = phi_q_t S_t with S_t = exp(g_t) S_{t-1} + phi_k_t^T v_t: chunked, token by token, quadratic.

Decays g are natural logarithms <= 0, constant per head `[H]` or per token `[B, H, T]`; -inf forgets everything.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.errors import ConfigError
from nas.kernels.attention import repeat_heads
from nas.kernels.frugal import causal_product, weighted_sum

# only keeps 0 / 0 finite: sums of positive features stay far above
_SMALLEST_SUM = 1e-12


class State(NamedTuple):
    """What a causal scan remembers: `matrix` `[B, H, F, D]` and the decayed sum of keys `total` `[B, H, F]`."""

    matrix: Tensor
    total: Tensor


def linear_attention(
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    log_decay: Tensor | None = None,
    normalize: bool = False,
    chunk_size: int = 64,
) -> Tensor:
    """Linear attention `[B, H, T, D]`; `chunked` without its state, or two products when not causal.

    Args:
        phi_q: Query features `[B, H, T, F]`.
        phi_k: Key features `[B, Hkv, T, F]`, Hkv divides H.
        v: Values `[B, Hkv, T, D]`.
        is_causal: Whether a query sees only keys up to its own position.
        log_decay: Natural-log decay, `[H]` or `[B, H, T]`; causal only.
        normalize: Divide by phi_q . sum(phi_k).
        chunk_size: Tokens handled by one masked product.

    Raises:
        ConfigError: For a decay without a direction.
    """
    if is_causal:
        return chunked(phi_q, phi_k, v, log_decay=log_decay, normalize=normalize, chunk_size=chunk_size)[0]
    if log_decay is not None:
        raise ConfigError("log_decay needs is_causal=True, got False; run one causal scan per direction instead.")
    out = phi_q @ repeat_heads(phi_k.transpose(-1, -2) @ v, phi_q.shape[1])
    if not normalize:
        return out
    return _divide(out, phi_q @ repeat_heads(phi_k.sum(2).unsqueeze(-1), phi_q.shape[1]))


def chunked(
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    *,
    log_decay: Tensor | None = None,
    normalize: bool = False,
    chunk_size: int = 64,
    initial_state: State | None = None,
) -> tuple[Tensor, State]:
    """Causal linear attention `[B, H, T, D]` and the state after the last token, all chunks at once.

    Half precision is accumulated in float32, the state's type. Source: Transformers are SSMs (Mamba-2), 2024, the
    block decomposition.
    """
    size, tokens, dtype = min(chunk_size, v.shape[2]), v.shape[2], v.dtype
    phi_q, phi_k, v = _promote(phi_q, phi_k, v)
    # a column of ones carries the sum of keys through the same products
    values = F.pad(repeat_heads(v, phi_q.shape[1]), (0, 1), value=1.0)
    q, k, values = (_split(x, size) for x in (phi_q, repeat_heads(phi_k, phi_q.shape[1]), values))
    decay = None if log_decay is None else _split(_per_token(log_decay, tokens).to(v.dtype).unsqueeze(-1), size)[..., 0]
    first = None if initial_state is None else torch.cat([initial_state.matrix, initial_state.total.unsqueeze(-1)], -1)
    inside, states = _chunk_terms(k, values, decay, first)
    before = q @ states[:, :, :-1]
    before = before if decay is None else before * decay.cumsum(-1).exp().unsqueeze(-1)
    out = (causal_product(q, k, values, inside) + before).flatten(2, 3)[:, :, :tokens]
    result = _divide(out[..., :-1], out[..., -1:]) if normalize else out[..., :-1]
    return result.to(dtype), State(states[:, :, -1, :, :-1], states[:, :, -1, :, -1])


def step(
    state: State,
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    normalize: bool = False,
) -> tuple[Tensor, State]:
    """One decoded token: its output `[B, H, D]` and the next state.

    Args:
        state: State before the token.
        phi_q: Query features `[B, H, F]`.
        phi_k: Key features `[B, H, F]`.
        v: Value `[B, H, D]`.
        log_decay: Natural-log decay of this token, `[H]` or `[B, H]`.
        normalize: Divide by phi_q . sum(phi_k).
    """
    matrix, total = state
    if log_decay is not None:
        keep = log_decay.exp().unsqueeze(-1)
        matrix, total = keep.unsqueeze(-1) * matrix, keep * total
    matrix = matrix + phi_k.unsqueeze(-1) * v.unsqueeze(-2)
    total = total + phi_k
    out = (phi_q.unsqueeze(-2) @ matrix).squeeze(-2)
    return (_divide(out, (phi_q * total).sum(-1, keepdim=True)) if normalize else out), State(matrix, total)


def final_state(phi_k: Tensor, v: Tensor, *, log_decay: Tensor | None = None) -> State:
    """The state after the last token, without any output; one product over all tokens.

    Args:
        phi_k: Key features `[B, H, T, F]`.
        v: Values `[B, H, T, D]`.
        log_decay: Natural-log decay, `[H]` or `[B, H, T]`.
    """
    phi_k, v = _promote(phi_k, v)
    if log_decay is not None:
        # a token is not subject to its own decay, only to those of later ones
        later = F.pad(_per_token(log_decay, v.shape[2])[..., 1:], (0, 1))
        phi_k = phi_k * later.flip(-1).cumsum(-1).flip(-1).exp().unsqueeze(-1)
    return State(phi_k.transpose(-1, -2) @ v, phi_k.sum(2))


def recurrent(
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    *,
    log_decay: Tensor | None = None,
    normalize: bool = False,
    initial_state: State | None = None,
) -> tuple[Tensor, State]:
    """The slow twin of `chunked`: a loop of `step` over the tokens; phi_k and v have as many heads as phi_q."""
    state = empty_state(phi_k, v) if initial_state is None else initial_state
    decay = None if log_decay is None else _per_token(log_decay, v.shape[2])
    outputs = []
    for t in range(v.shape[2]):
        gate = None if decay is None else decay[:, :, t]
        out, state = step(state, phi_q[:, :, t], phi_k[:, :, t], v[:, :, t], gate, normalize=normalize)
        outputs.append(out)
    return torch.stack(outputs, dim=2), state


def quadratic(
    phi_q: Tensor,
    phi_k: Tensor,
    v: Tensor,
    *,
    is_causal: bool,
    log_decay: Tensor | None = None,
    normalize: bool = False,
) -> Tensor:
    """Linear attention through its T x T weights, the reference of every other form."""
    weights = phi_q @ phi_k.transpose(-1, -2)
    if is_causal:
        weights = weights.tril()
    if log_decay is not None:
        weights = weights * _segment_sums(_per_token(log_decay, v.shape[2])).exp()
    out = weights @ v
    return _divide(out, weights.sum(-1, keepdim=True)) if normalize else out


def empty_state(phi_k: Tensor, v: Tensor) -> State:
    """The state before the first token, zeros."""
    batch, num_heads, _, features = phi_k.shape
    return State(v.new_zeros(batch, num_heads, features, v.shape[-1]), v.new_zeros(batch, num_heads, features))


def _chunk_terms(k: Tensor, v: Tensor, decay: Tensor | None, first: Tensor | None) -> tuple[Tensor | None, Tensor]:
    """Log weights inside each chunk (None without decay) and the state before every chunk plus the last one."""
    start = k.new_zeros(*k.shape[:2], 1, k.shape[-1], v.shape[-1]) if first is None else first.unsqueeze(2)
    if decay is None:
        return None, torch.cat([start, k.transpose(-1, -2) @ v], dim=2).cumsum(2)
    inside = _segment_sums(decay)
    added = weighted_sum(k, v, inside[..., -1, :].exp().unsqueeze(-1))
    # row n weighs the initial state and the chunks before n
    across = _segment_sums(F.pad(decay.sum(-1), (1, 0))).exp()
    states = across @ torch.cat([start, added], dim=2).flatten(3)
    return inside, states.view(*states.shape[:3], k.shape[-1], v.shape[-1])


def _segment_sums(decay: Tensor) -> Tensor:
    """`[..., T]` to `[..., T, T]`: entry (i, j) sums decay over j < t <= i, -inf where j > i.

    Sums each segment by itself: differences of one running sum lose small decays behind large ones.
    """
    length = decay.shape[-1]
    lower = torch.ones(length, length, dtype=torch.bool, device=decay.device).tril()
    steps = decay.unsqueeze(-1).expand(*decay.shape, length).masked_fill(~lower.tril(-1), 0.0)
    return steps.cumsum(-2).masked_fill(~lower, float("-inf"))


def _per_token(log_decay: Tensor, tokens: int) -> Tensor:
    return log_decay.view(1, -1, 1).expand(1, -1, tokens) if log_decay.dim() == 1 else log_decay


def _split(x: Tensor, size: int) -> Tensor:
    """`[B, H, T, F]` to `[B, H, chunks, size, F]`; zero padding adds nothing to a state and does not decay it."""
    padding = -x.shape[2] % size
    x = F.pad(x, (0, 0, 0, padding)) if padding else x
    return x.reshape(*x.shape[:2], -1, size, x.shape[3])


def _promote(*tensors: Tensor) -> list[Tensor]:
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator / denominator.clamp_min(_SMALLEST_SUM)
