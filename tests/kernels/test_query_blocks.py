"""Blocks of each query's own, by chunks: what a mask gives, however uneven the choice."""

import pytest
import torch

from nas.kernels import attention, query_blocks


def chosen(kind: str, tokens: int, count: int, r: int) -> torch.Tensor:
    """Blocks `[2, 4, T, r]`, no one twice."""
    if kind == "all the same":
        return torch.arange(r).expand(2, 4, tokens, -1)
    drawn = torch.rand(2, 4, tokens, count).topk(r, dim=-1).indices
    return drawn.masked_fill(torch.rand(drawn.shape) < 0.4, -1) if kind == "some missing" else drawn


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", ["drawn", "all the same", "some missing"])
@pytest.mark.parametrize(("tokens", "r"), [(1, 1), (37, 2), (64, 1), (130, 3)])
def test_chunks_give_what_a_mask_gives(kind: str, tokens: int, r: int, is_causal: bool) -> None:
    q = torch.randn(2, 4, tokens, 5, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(2, 4, tokens, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    blocks = chosen(kind, tokens, -(-tokens // 8), r)
    found = query_blocks.by_chunks(q, k, v, blocks, 8, is_causal=is_causal)
    mask = query_blocks.visible(blocks, tokens, 8, is_causal=is_causal)
    expected = attention.reference(q, k, v, mask)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weight = torch.randn_like(found)
    for mine, other in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_causal", [False, True])
def test_long_sequences_are_cut_into_chunks_and_heads_shared(is_causal: bool) -> None:
    tokens = 900
    assert query_blocks.computed_pairs(tokens, 2, 32) < tokens**2 / 4
    q = torch.randn(1, 4, tokens, 6, dtype=torch.float64)
    k, v = (torch.randn(1, 2, tokens, 6, dtype=torch.float64) for _ in range(2))
    blocks = torch.rand(1, 2, tokens, 29).topk(2, dim=-1).indices
    found = query_blocks.attend(q, k, v, blocks, 32, is_causal=is_causal)
    mask = attention.repeat_heads(query_blocks.visible(blocks, tokens, 32, is_causal=is_causal), 4)
    torch.testing.assert_close(found, attention.reference(q, k, v, mask), atol=1e-12, rtol=0)


def test_large_scores_do_not_overflow() -> None:
    q, k, v = (1e3 * torch.randn(1, 1, 40, 4) for _ in range(3))
    blocks = torch.arange(5).repeat_interleave(8).view(1, 1, 40, 1)
    assert query_blocks.by_chunks(q, k, v, blocks, 8, is_causal=True).isfinite().all()


def test_pairs_are_those_of_full_attention_where_few_are_saved() -> None:
    assert query_blocks.computed_pairs(100, 3, 32) == 100**2
