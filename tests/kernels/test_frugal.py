"""Recomputed parts beside what autograd does by itself, and what they keep for the backward pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nas.kernels.features import elu_plus_one
from nas.kernels.frugal import causal_product, gated_norm, weighted_sum

TOKENS, FEATURES, WIDTH = 7, 3, 5


def drawn(seed: int = 0, **options: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((2, 3, TOKENS, FEATURES), (2, 3, TOKENS, FEATURES), (2, 3, TOKENS, WIDTH))
    q, k, v = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes)
    decay = -torch.rand(1, 3, TOKENS, TOKENS, generator=rng, dtype=torch.float64)
    hidden = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
    q, k, v, decay = (x.requires_grad_() for x in (q, k, v, decay))
    return q, k, v, decay.masked_fill(hidden, float("-inf"))


def plain(q: Tensor, k: Tensor, v: Tensor, log_weights: Tensor | None = None) -> Tensor:
    seen = torch.ones(TOKENS, TOKENS, dtype=q.dtype).tril() if log_weights is None else log_weights.exp()
    return torch.einsum("bhtf,bhsf,bhsd,...hts->bhtd", q, k, v, seen.expand(1, 3, TOKENS, TOKENS))


@pytest.mark.parametrize("weighed", [False, True])
def test_causal_product_and_its_gradients(weighed: bool) -> None:
    q, k, v, logs = drawn()
    given = (q, k, v, logs) if weighed else (q, k, v)
    grad = torch.randn(2, 3, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, wanted = causal_product(*given), plain(*given)
    torch.testing.assert_close(found, wanted)
    for own, reference in zip(
        torch.autograd.grad(found, given, grad), torch.autograd.grad(wanted, given, grad), strict=True
    ):
        assert torch.isfinite(own).all()
        torch.testing.assert_close(own, reference)
    with torch.no_grad():
        torch.testing.assert_close(causal_product(*given), wanted)


def test_a_constant_decay_has_no_gradient() -> None:
    q, k, v, logs = drawn()
    causal_product(q, k, v, logs.detach()).sum().backward()
    assert all(x.grad is not None for x in (q, k, v)) and logs.detach().grad is None


def test_elu_plus_one_and_its_slope_on_both_sides_of_zero() -> None:
    x = torch.tensor([[-30.0, -1.5, -0.0, 0.0], [1e-9, 0.3, 2.0, 30.0]], dtype=torch.float64, requires_grad=True)
    grad = torch.linspace(1, 2, 8, dtype=torch.float64).view(2, 4)
    found, wanted = elu_plus_one(x), F.elu(x) + 1
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, x, grad), torch.autograd.grad(wanted, x, grad))
    assert torch.autograd.gradcheck(elu_plus_one, (drawn()[0],))


def test_a_weighted_sum_and_its_gradients() -> None:
    _, k, v, _ = drawn()
    weights = torch.rand(1, 3, TOKENS, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(weighted_sum, (k, v, weights))
    assert torch.autograd.gradcheck(weighted_sum, (k, v, weights.detach()))
    with torch.no_grad():
        torch.testing.assert_close(
            weighted_sum(k, v, weights), torch.einsum("bhtf,bhtd,bht->bhfd", k, v, weights[..., 0].expand(2, 3, TOKENS))
        )


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("width", [1, FEATURES])
def test_a_gated_norm_and_its_gradients(axes: int, width: int) -> None:
    x, gates = drawn()[0], torch.rand(2, 3, TOKENS, width, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, gates: gated_norm(x, gates, axes), (x, gates))
    wanted = x * gates / (x.square().mean(tuple(range(-axes, 0)), keepdim=True) + torch.finfo(x.dtype).eps).sqrt()
    torch.testing.assert_close(gated_norm(x, gates, axes), wanted)
    with torch.no_grad():
        torch.testing.assert_close(gated_norm(x, gates, axes), wanted)


def test_what_is_small_is_as_much_in_half_precision_as_its_gradient_says() -> None:
    """The epsilon is that of the type that sums are taken in."""
    x, gates = (torch.full((2, 4), value, dtype=torch.bfloat16, requires_grad=True) for value in (1e-3, 1.0))
    wide = x.detach().float().requires_grad_()
    grad = torch.linspace(1, 2, 8).view(2, 4)
    own = torch.autograd.grad(gated_norm(x, gates), x, grad.bfloat16())[0]
    wanted = torch.autograd.grad(F.rms_norm(wide, (4,)), wide, grad)[0]
    assert own.dtype == torch.bfloat16
    torch.testing.assert_close(own.float(), wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))


def kept(run: Callable[[], Tensor]) -> int:
    """Elements that a backward pass would find, each storage once."""
    found: dict[int, Tensor] = {}  # holds them, so that no two have the same place

    def pack(x: Tensor) -> Tensor:
        found[x.untyped_storage().data_ptr()] = x
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        result = run()
    assert result.requires_grad
    return sum(x.untyped_storage().nbytes() // x.element_size() for x in found.values())


def test_what_is_kept_does_not_grow_with_the_square_of_the_tokens() -> None:
    q, k, v, _ = drawn()
    assert kept(lambda: causal_product(q, k, v)) == q.numel() + k.numel() + v.numel()
    assert kept(lambda: plain(q, k, v)) > q.numel() + k.numel() + v.numel() + 6 * TOKENS**2


def test_weighted_and_normed_tensors_are_not_kept() -> None:
    _, k, v, _ = drawn()
    weights, gates = torch.rand(TOKENS, 1, dtype=torch.float64), v.detach().sigmoid().requires_grad_()
    assert kept(lambda: weighted_sum(k, v, weights)) == k.numel() + v.numel() + TOKENS
    assert kept(lambda: gated_norm(v, gates)) == 2 * v.numel()
    assert kept(lambda: F.rms_norm(v, (WIDTH,)) * gates) > 2 * v.numel()


def test_a_map_of_heads_and_its_product_keep_one_tensor() -> None:
    """Heads are columns of a projection, so that products copy them."""
    x = torch.randn(2, TOKENS, 3 * FEATURES, requires_grad=True)
    heads = x.unflatten(-1, (3, FEATURES)).transpose(1, 2)
    state = torch.randn(2, 3, FEATURES, WIDTH, requires_grad=True)
    assert kept(lambda: elu_plus_one(heads) @ state) == x.numel() + state.numel()
    assert kept(lambda: (F.elu(heads) + 1) @ state) > x.numel() + state.numel()


def test_half_precision_keeps_its_type() -> None:
    x = torch.randn(4, 8, dtype=torch.bfloat16, requires_grad=True)
    mapped = elu_plus_one(x)
    assert mapped.dtype == torch.bfloat16 and torch.autograd.grad(mapped.sum(), x)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("weighed", [False, True])
def test_mixed_precision_has_gradients_in_the_type_of_what_is_given(weighed: bool) -> None:
    q, k, v, logs = (x.detach().float().requires_grad_() for x in drawn())
    given = (q, k, v, logs) if weighed else (q, k, v)
    with torch.autocast("cpu", torch.bfloat16):
        found = causal_product(*given)
        loss = (found * found).sum()
    found_grads, wanted = torch.autograd.grad(loss, given), torch.autograd.grad((plain(*given) ** 2).sum(), given)
    for own, reference in zip(found_grads, wanted, strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, reference, rtol=0.1, atol=0.1 * float(reference.abs().max()))


def test_a_weighted_sum_in_mixed_precision_has_gradients_in_the_type_of_what_is_given() -> None:
    _, k, v, _ = (x.detach().float().requires_grad_() for x in drawn())
    weights = torch.rand(1, 3, TOKENS, 1, requires_grad=True)
    given = (k, v, weights)
    with torch.autocast("cpu", torch.bfloat16):
        found = weighted_sum(*given)
        loss = (found * found).sum()
    wanted = torch.autograd.grad((((k * weights).transpose(-1, -2) @ v) ** 2).sum(), given)
    assert found.dtype == torch.float32
    for own, reference in zip(torch.autograd.grad(loss, given), wanted, strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, reference, rtol=0.1, atol=0.1 * float(reference.abs().max()))
