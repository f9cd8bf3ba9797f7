from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nas import operators
from nas.operators.contract import Site
from nas.operators.sparse.chunk_routing import _scores, chunks

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}
ONE = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 6}


def site(tokens: int) -> Site:
    return Site(embed_dim=20, tokens=tokens, domain="causal")


def inputs(tokens: int) -> Tensor:
    return torch.randn(2, tokens, 20, dtype=torch.float64)


@pytest.mark.parametrize("sizes", [(4, 60), (16, 32), (32, 1)])
def test_a_budget_of_all_tokens_is_full_attention(build: Callable[..., Any], sizes: tuple[int, int]) -> None:
    layer = build("chunk_routing", site(60), **HEADS, block_size=sizes[0], budget=sizes[1])
    full = build("softmax", site(60), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = inputs(60)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_keys_are_cut_where_they_change_and_at_blocks() -> None:
    first, second = torch.randn(2, 12).double()
    keys = torch.stack([first] * 21 + [second - first * (first @ second) / (first @ first)] * 43).unsqueeze(0)
    starts = chunks(keys, 32)[0].diff().nonzero().flatten() + 1
    assert starts.tolist() == [21, 32]


def test_a_cut_is_known_when_its_block_is() -> None:
    keys = torch.randn(1, 128, 12).double()
    whole = chunks(keys, 32)
    assert whole.max() > 3
    for end in (32, 64, 96):
        assert torch.equal(chunks(keys[:, :end], 32), whole[:, :end])


def test_chunks_of_equal_length_rank_as_the_mean_keys_of_blocks() -> None:
    # blocks of 4 have no room for a cut of their own
    q, k = torch.randn(2, 2, 3, 6).double(), torch.randn(2, 2, 32, 6).double()
    scores = _scores(q, k, 4)[..., ::4]
    means = torch.unflatten(k, 2, (8, 4)).mean(3)
    torch.testing.assert_close(scores, 2 * torch.einsum("bhqd,bhnd->bqn", q, means), atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 9, 16])
def test_identical_keys_score_with_the_root_of_their_number(length: int) -> None:
    q, key = torch.randn(1, 1, 1, 6).double(), torch.randn(6).double()
    k = key.expand(1, 1, length, 6)
    torch.testing.assert_close(_scores(q, k, 16)[0, 0], (length**0.5 * (q.flatten() @ key)).expand(length))


def test_a_block_reads_its_budget_itself_and_the_block_before(build: Callable[..., Any]) -> None:
    layer = build("chunk_routing", site(200), **ONE, block_size=16, budget=20)
    keys: list[Tensor] = []
    layer.projections.k.register_forward_hook(lambda *call: keys.append(call[-1]))
    y = layer(inputs(200))
    for query in (40, 130, 199):
        (gradient,) = torch.autograd.grad(y[0, query].pow(2).sum(), keys, retain_graph=True)
        read = set(gradient[0].abs().sum((1, 2)).nonzero().flatten().tolist())
        earlier = query // 16 * 16 - 16
        local = set(range(earlier, query + 1))
        assert local | set(range(4)) <= read
        assert len(read - local) == min(20, earlier)


def test_pairs_and_flops_fall_with_the_budget() -> None:
    mixer = operators.get("chunk_routing")
    costs = [mixer.cost(mixer.knobs_type(**HEADS, block_size=32, budget=b), site(2048)) for b in (32, 128, 512)]
    assert costs[0].pairs < costs[1].pairs < costs[2].pairs
    assert costs[0].flops < costs[1].flops < costs[2].flops
