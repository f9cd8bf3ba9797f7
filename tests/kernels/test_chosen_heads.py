"""Heads that were not chosen are not computed, and the others are right however uneven the choice is."""

import pytest
import torch

from nas.kernels import attention, chosen_heads


@pytest.mark.parametrize("kind", ["drawn", "all the same", "in turn"])
@pytest.mark.parametrize(("tokens", "r"), [(1, 1), (63, 2), (64, 1), (130, 3)])
def test_chosen_heads_are_those_of_full_attention(kind: str, tokens: int, r: int) -> None:
    q, k, v = (torch.randn(2, 4, tokens, 5, dtype=torch.float64) for _ in range(3))
    chosen = {
        "drawn": torch.rand(2, tokens, 4).topk(r, dim=-1).indices,
        "all the same": torch.arange(r).expand(2, tokens, -1),
        "in turn": (torch.arange(tokens)[:, None] + torch.arange(r)).remainder(4).expand(2, -1, -1),
    }[kind]
    full = attention.reference(q, k, v).transpose(1, 2)
    expected = full.gather(2, chosen.unsqueeze(-1).expand(-1, -1, -1, 5))
    torch.testing.assert_close(chosen_heads.attend(q, k, v, chosen), expected, atol=1e-12, rtol=0)


def test_blocks_suffice_for_the_most_uneven_choice() -> None:
    for heads, many in ((3, 1), (5, 2), (2, 7)):
        sizes = [many * chosen_heads.BLOCK + 1] * heads  # every head begins a block for a single query
        needed = sum(-(-size // chosen_heads.BLOCK) for size in sizes)
        assert needed * chosen_heads.BLOCK <= chosen_heads.computed_rows(sum(sizes), 1, heads)
