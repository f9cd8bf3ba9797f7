import pytest
import torch
from torch import Tensor

from nas.errors import ConfigError
from nas.kernels.attention import Executor, decode, dense, reference, repeat_heads, sparse
from nas.kernels.visibility import Visibility, dense_mask, from_predicate, tile_order

EXECUTORS: tuple[Executor, ...] = ("auto", "dense", "gather")


def draw(tokens: int, heads: int = 3, kv_heads: int = 3, width: int = 8, value_width: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = ((heads, width), (kv_heads, width), (kv_heads, value_width))
    return [torch.randn(2, h, tokens, d, generator=generator, dtype=torch.float64) for h, d in shapes]


def window(q: Tensor, k: Tensor) -> Tensor:
    return (k <= q) & (q - k < 16)


def neighbourhood(q: Tensor, k: Tensor) -> Tensor:
    return ((q // 9 - k // 9).abs() <= 1) & ((q % 9 - k % 9).abs() <= 1)


def routed(tokens: int) -> Visibility:
    blocks = -(-tokens // 16)
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(2, 3, blocks, blocks, generator=generator)
    lists = scores.topk(min(3, blocks), dim=-1).indices
    lists[:, 1, :, -1] = -1
    return Visibility(tokens=tokens, block_size=16, lists=lists, predicate=lambda q, k: k <= q)


def rms_ratio(out: Tensor, expected: Tensor) -> float:
    return float((out.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("value_width", [8, 24, 40])
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (3, 3), (3, 1), (4, 2)])
@pytest.mark.parametrize("tokens", [1, 17, 100])
def test_dense_equals_the_reference(tokens: int, heads: int, kv_heads: int, value_width: int) -> None:
    q, k, v = draw(tokens, heads, kv_heads, 24, value_width)
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    torch.testing.assert_close(dense(q, k, v), reference(q, k, v), rtol=1e-10, atol=1e-10)
    expected = reference(q, k, v, causal)
    torch.testing.assert_close(dense(q, k, v, is_causal=True), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dense(q, k, v, mask=causal), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (3, 3), (3, 1), (4, 2)])
@pytest.mark.parametrize("tokens", [1, 17, 100])
def test_one_query_equals_the_last_of_the_reference(tokens: int, heads: int, kv_heads: int, is_masked: bool) -> None:
    q, k, v = draw(tokens, heads, kv_heads, value_width=24)
    mask = torch.rand(2, heads, 1, tokens) < 0.5 if is_masked else None
    if mask is not None:
        mask[..., -1] = True
    torch.testing.assert_close(decode(q[:, :, -1:], k, v, mask=mask), reference(q, k, v, mask)[:, :, -1:])


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 3), (4, 2)])
@pytest.mark.parametrize("tokens", [1, 17, 63, 100, 257])
def test_window_equals_the_masked_reference(tokens: int, heads: int, kv_heads: int, executor: Executor) -> None:
    q, k, v = draw(tokens, heads, kv_heads, 8, 24)
    position = torch.arange(tokens)
    expected = reference(q, k, v, window(position.view(-1, 1), position))
    visibility = from_predicate(tokens, 16, window)
    torch.testing.assert_close(sparse(q, k, v, visibility, executor), expected, rtol=1e-10, atol=1e-10)
    narrow = sparse(q.float(), k.float(), v.float(), visibility, executor)
    assert rms_ratio(narrow, expected) < 1e-5


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("tokens", [1, 17, 100])
def test_routed_lists_equal_the_masked_reference(tokens: int, executor: Executor) -> None:
    q, k, v = draw(tokens)
    visibility = routed(tokens)
    expected = reference(q, k, v, dense_mask(visibility))
    torch.testing.assert_close(sparse(q, k, v, visibility, executor), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("tile", [None, 3, 4])
def test_grid_neighbourhood_in_tile_order(tile: int | None, executor: Executor) -> None:
    q, k, v = draw(63)
    position = torch.arange(63)
    expected = reference(q, k, v, neighbourhood(position.view(-1, 1), position))
    order = None if tile is None else tile_order(7, 9, tile)
    visibility = from_predicate(63, 9, neighbourhood, order=order)
    torch.testing.assert_close(sparse(q, k, v, visibility, executor), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_predicate_per_head(executor: Executor) -> None:
    q, k, v = draw(100)
    widths = torch.tensor([3, 20, 70]).view(3, 1, 1, 1)
    visibility = from_predicate(100, 16, lambda q, k: (k <= q) & (q - k < widths))
    position = torch.arange(100)
    gap = position.view(-1, 1) - position
    expected = reference(q, k, v, (gap >= 0) & (gap < widths[..., 0]))
    assert visibility.lists.shape[1] == 3
    torch.testing.assert_close(sparse(q, k, v, visibility, executor), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("executor", ["dense", "gather"])
@pytest.mark.parametrize("pattern", ["window", "routed", "tiles"])
def test_gradients_equal_the_masked_reference(pattern: str, executor: Executor) -> None:
    patterns = {
        "window": lambda: from_predicate(63, 16, window),
        "routed": lambda: routed(63),
        "tiles": lambda: from_predicate(63, 9, neighbourhood, order=tile_order(7, 9, 3)),
    }
    visibility = patterns[pattern]()
    inputs = [x.requires_grad_() for x in draw(63, 3, 1)]
    cotangent = torch.randn(2, 3, 63, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(reference(*inputs, dense_mask(visibility)), inputs, cotangent)
    found = torch.autograd.grad(sparse(*inputs, visibility, executor), inputs, cotangent)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_rows_without_a_key_are_zero_with_finite_gradients(executor: Executor) -> None:
    inputs = [x.requires_grad_() for x in draw(40)]
    visibility = from_predicate(40, 16, lambda q, k: (k < q) & (q < 30))
    out = sparse(*inputs, visibility, executor)
    assert not out[:, :, 0].any()
    assert not out[:, :, 30:].any()
    for attended in (out, reference(*inputs, dense_mask(visibility))):
        grads = torch.autograd.grad(attended.square().sum(), inputs)
        assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_block_listed_twice_counts_once(executor: Executor) -> None:
    q, k, v = draw(32)
    once = torch.tensor([[0, -1, -1], [1, 0, -1]]).view(1, 1, 2, 3)
    twice = torch.tensor([[0, 0, 0], [1, 0, 1]]).view(1, 1, 2, 3)
    found, expected = (
        sparse(q, k, v, Visibility(tokens=32, block_size=16, lists=lists), executor) for lists in (twice, once)
    )
    torch.testing.assert_close(found, expected)


def test_later_tokens_do_not_change_earlier_outputs() -> None:
    q, k, v = draw(100)
    visibility = from_predicate(100, 16, window)
    before = sparse(q, k, v, visibility, "gather")[:, :, :50]
    for x in (q, k, v):
        x[:, :, 50:] += 1.0
    assert torch.equal(sparse(q, k, v, visibility, "gather")[:, :, :50], before)


def test_sliced_inputs_need_no_copy_by_the_caller() -> None:
    wide = torch.randn(2, 63, 4, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = wide.transpose(1, 2)[:, :3, :, :8]
    visibility = from_predicate(63, 16, window)
    expected = reference(x, x, x, dense_mask(visibility))
    torch.testing.assert_close(sparse(x, x, x, visibility, "gather"), expected)


def test_repeat_heads_keeps_groups_together() -> None:
    x = torch.arange(2.0).view(1, 2, 1, 1)
    assert repeat_heads(x, 4).flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def test_unknown_executor_is_refused() -> None:
    q, k, v = draw(17)
    with pytest.raises(ConfigError, match="executor must be auto, dense or gather, got 'flex'"):
        sparse(q, k, v, from_predicate(17, 16, window), "flex")  # type: ignore[arg-type]


def test_pattern_of_another_length_is_refused() -> None:
    q, k, v = draw(17)
    with pytest.raises(ConfigError, match="the pattern is for 18 tokens, got 17 queries"):
        sparse(q, k, v, from_predicate(18, 16, window))
