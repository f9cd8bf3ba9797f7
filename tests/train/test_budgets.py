"""Dropped mass is half the error of a row, and budgets are kept at the least cost."""

import pytest
import torch

from nas.errors import ConfigError
from nas.kernels import attention
from nas.train.budgets import categories, dropped, smallest_topk, visible

SEGMENTS = torch.tensor([-1, 0, 0, 0, -1, 1, 1, 1, 1, -1])


@pytest.fixture
def qk() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 4, 40, 8, dtype=torch.float64), torch.randn(2, 2, 40, 8, dtype=torch.float64)


def causal_weights(scores: torch.Tensor) -> torch.Tensor:
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1)


def test_an_error_is_twice_the_dropped_mass() -> None:
    scores, kept = torch.randn(2, 3, 9, 9, dtype=torch.float64), torch.rand(2, 3, 9, 9) < 0.6
    kept |= torch.eye(9, dtype=torch.bool)
    weights, thinned = scores.softmax(-1), scores.masked_fill(~kept, float("-inf")).softmax(-1)
    error = (weights - thinned).abs().sum(-1).mean((0, 2))
    torch.testing.assert_close(error, 2 * dropped(weights, kept), rtol=0, atol=1e-14)


@pytest.mark.parametrize("estimate", ["pooled", "four_bit"])
def test_the_least_number_of_blocks_within_the_budget(qk: tuple[torch.Tensor, torch.Tensor], estimate: str) -> None:
    q, k = qk
    assert smallest_topk(q, k, 8, estimate, 0.0) == 5 and smallest_topk(q, k, 8, estimate, 2.0) == 1
    found = [smallest_topk(q, k, 8, estimate, budget) for budget in (1.5, 1.0, 0.5, 0.1)]
    assert found == sorted(found)


def test_sharper_attention_needs_fewer_blocks(qk: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, k = qk
    k = k[:, :, :1] + 0.3 * k  # blocks of alike keys
    assert smallest_topk(8 * q, k, 8, "four_bit", 0.3) <= smallest_topk(q, k, 8, "four_bit", 0.3)


def test_budgets_out_of_range_are_refused(qk: tuple[torch.Tensor, torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="between 0 and 2, got 3"):
        smallest_topk(*qk, 8, "pooled", 3.0)
    with pytest.raises(ConfigError, match="one of document.*got 'half'"):
        visible("half", SEGMENTS)


def test_one_segment_makes_document_dense() -> None:
    alone = torch.zeros(7, dtype=torch.int64)
    assert torch.equal(visible("document", alone), visible("dense", alone))
    assert visible("sink", alone).sum() == 7 + 6  # the first token, and each itself


def test_a_document_does_not_see_another() -> None:
    q, k, v = (torch.randn(1, 2, 10, 4, dtype=torch.float64) for _ in range(3))
    changed_k, changed_v = k.clone(), v.clone()
    for part in (changed_k, changed_v):
        part[:, :, 1:4] += 1
    mask = visible("document", SEGMENTS)
    before, after = attention.reference(q, k, v, mask), attention.reference(q, changed_k, changed_v, mask)
    assert torch.equal(before[:, :, 5:9], after[:, :, 5:9]) and not torch.equal(before[:, :, 9], after[:, :, 9])


def test_heads_get_the_cheapest_category_that_keeps_the_budget() -> None:
    scores = torch.zeros(1, 4, 10, 10, dtype=torch.float64)
    for head, category in enumerate(("sink", "document", "document_sink")):
        scores[:, head] += 40.0 * visible(category, SEGMENTS)
    assert categories(causal_weights(scores), SEGMENTS, 1e-6) == ["sink", "document", "document_sink", "dense"]
    least = min(("document", "document_sink", "sink", "dense"), key=lambda one: int(visible(one, SEGMENTS).sum()))
    assert set(categories(causal_weights(scores), SEGMENTS, 2.0)) == {least}
