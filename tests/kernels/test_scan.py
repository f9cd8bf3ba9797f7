import pytest
import torch
from torch import Tensor

from nas.errors import ConfigError
from nas.kernels.features import elu_plus_one
from nas.kernels.scan import chunked, empty_state, final_state, linear_attention, quadratic, recurrent, step

LENGTHS = (1, 17, 63, 100, 257)


def draw(tokens: int, heads: int = 3, width: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(tokens)
    q, k, v = (torch.randn(2, heads, tokens, width, generator=generator, dtype=torch.float64) for _ in range(3))
    return elu_plus_one(q).to(dtype), elu_plus_one(k).to(dtype), v.to(dtype)


def decays(kind: str, tokens: int, heads: int = 3) -> Tensor | None:
    generator = torch.Generator().manual_seed(7)
    draws = torch.rand(2, heads, tokens, generator=generator, dtype=torch.float64)
    table = {
        "none": None,
        "head": -torch.rand(heads, generator=generator, dtype=torch.float64),
        "token": -draws,
        "strong": -300.0 * draws * (draws > 0.5),
    }
    return table[kind]


def rms_ratio(out: Tensor, expected: Tensor) -> float:
    return float((out.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", ["none", "head", "token", "strong"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_all_forms_agree(tokens: int, normalize: bool, kind: str) -> None:
    q, k, v = draw(tokens)
    decay = decays(kind, tokens)
    expected = quadratic(q, k, v, is_causal=True, log_decay=decay, normalize=normalize)
    out, state = chunked(q, k, v, log_decay=decay, normalize=normalize, chunk_size=16)
    slow, slow_state = recurrent(q, k, v, log_decay=decay, normalize=normalize)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(slow, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, slow_state, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["none", "head", "token", "strong"])
def test_single_precision_stays_near_double(kind: str) -> None:
    q, k, v = draw(257)
    decay = decays(kind, 257)
    expected = quadratic(q, k, v, is_causal=True, log_decay=decay, normalize=True)
    narrow = None if decay is None else decay.float()
    out = linear_attention(q.float(), k.float(), v.float(), is_causal=True, log_decay=narrow, normalize=True)
    assert rms_ratio(out, expected) < 1e-5


@pytest.mark.parametrize("kind", ["none", "head", "token"])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_match_the_quadratic_form(normalize: bool, kind: str) -> None:
    decay = decays(kind, 63)
    inputs = [*draw(63), *([] if decay is None else [decay])]
    inputs = [x.requires_grad_() for x in inputs]
    gate = inputs[3] if decay is not None else None
    cotangent = torch.randn(2, 3, 63, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q, k, v = inputs[:3]
    slow = quadratic(q, k, v, is_causal=True, log_decay=gate, normalize=normalize)
    fast = linear_attention(q, k, v, is_causal=True, log_decay=gate, normalize=normalize, chunk_size=16)
    expected = torch.autograd.grad(slow, inputs, cotangent)
    torch.testing.assert_close(torch.autograd.grad(fast, inputs, cotangent), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_bidirectional_form_is_the_unmasked_product(tokens: int, normalize: bool) -> None:
    q, k, v = draw(tokens)
    expected = quadratic(q, k, v, is_causal=False, normalize=normalize)
    torch.testing.assert_close(linear_attention(q, k, v, is_causal=False, normalize=normalize), expected)


@pytest.mark.parametrize("is_causal", [False, True])
def test_grouped_heads_equal_repeated_heads(is_causal: bool) -> None:
    q, k, v = draw(37, heads=4)
    grouped = linear_attention(q, k[:, :2], v[:, :2], is_causal=is_causal, normalize=True)
    full = [x[:, :2].repeat_interleave(2, dim=1) for x in (k, v)]
    torch.testing.assert_close(grouped, linear_attention(q, *full, is_causal=is_causal, normalize=True))


def test_state_continues_a_split_sequence() -> None:
    q, k, v = draw(100)
    decay = decays("token", 100)
    assert decay is not None
    whole, end = chunked(q, k, v, log_decay=decay, normalize=True, chunk_size=16)
    head, middle = chunked(q[:, :, :41], k[:, :, :41], v[:, :, :41], log_decay=decay[..., :41], normalize=True)
    tail, last = chunked(
        *(x[:, :, 41:] for x in (q, k, v)), log_decay=decay[..., 41:], normalize=True, initial_state=middle
    )
    torch.testing.assert_close(torch.cat([head, tail], dim=2), whole)
    torch.testing.assert_close(last, end)


def test_step_decodes_the_last_token() -> None:
    q, k, v = draw(18)
    decay = decays("head", 18)
    whole = linear_attention(q, k, v, is_causal=True, log_decay=decay, normalize=True)
    _, state = chunked(*(x[:, :, :-1] for x in (q, k, v)), log_decay=decay)
    out, _ = step(state, *(x[:, :, -1] for x in (q, k, v)), decay, normalize=True)
    torch.testing.assert_close(out, whole[:, :, -1])


@pytest.mark.parametrize("kind", ["none", "head", "token", "strong"])
@pytest.mark.parametrize("tokens", LENGTHS)
def test_final_state_is_what_the_recurrence_leaves(tokens: int, kind: str) -> None:
    q, k, v = draw(tokens)
    decay = decays(kind, tokens)
    _, expected = recurrent(q, k, v, log_decay=decay)
    torch.testing.assert_close(final_state(k, v, log_decay=decay), expected, rtol=1e-10, atol=1e-10)
    if decay is not None and decay.dim() == 3:
        decay[..., tokens // 2] = float("-inf")
        _, expected = recurrent(q, k, v, log_decay=decay)
        torch.testing.assert_close(final_state(k, v, log_decay=decay), expected, rtol=1e-10, atol=1e-10)


def test_infinite_decay_forgets_everything() -> None:
    q, k, v = (x.requires_grad_() for x in draw(40))
    decay = torch.zeros(2, 3, 40, dtype=torch.float64)
    decay[..., 20] = float("-inf")
    out = linear_attention(q, k, v, is_causal=True, log_decay=decay, chunk_size=16)
    alone = linear_attention(*(x[:, :, 20:] for x in (q, k, v)), is_causal=True)
    torch.testing.assert_close(out[:, :, 20:], alone)
    out.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v))


def test_zero_features_give_zeros() -> None:
    _, k, v = draw(20)
    out = linear_attention(torch.zeros_like(k), torch.zeros_like(k), v, is_causal=True, normalize=True)
    assert torch.equal(out, torch.zeros_like(v))


def test_half_precision_accumulates_in_single() -> None:
    q, k, v = (x.bfloat16() for x in draw(100))
    out, state = chunked(q, k, v, normalize=True)
    expected = quadratic(q.double(), k.double(), v.double(), is_causal=True, normalize=True)
    assert rms_ratio(out, expected) < 1e-2
    assert (out.dtype, state.matrix.dtype) == (torch.bfloat16, torch.float32)


def test_empty_state_has_the_documented_shapes() -> None:
    _, k, v = draw(5)
    state = empty_state(k, v[..., :5])
    assert state.matrix.shape == (2, 3, 8, 5)
    assert state.total.shape == (2, 3, 8)


def test_decay_without_direction_is_refused() -> None:
    q, k, v = draw(5)
    with pytest.raises(ConfigError, match="log_decay needs is_causal=True"):
        linear_attention(q, k, v, is_causal=False, log_decay=decays("head", 5))
