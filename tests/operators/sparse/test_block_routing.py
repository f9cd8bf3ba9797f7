from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from nas import operators
from nas.kernels.query_blocks import visible
from nas.operators.contract import HeadKnobs, Site
from nas.operators.sparse.block_routing import Knobs, newest_mask, routed_blocks
from nas.shapes import Domain
from tests.operators.harness import counted

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def routed_mask(q, k, knobs, *, is_causal):
    """True where a pair is visible, `[B, Hq, T, T]`."""
    blocks = routed_blocks(q, k, knobs, is_causal=is_causal)
    return visible(blocks, q.shape[2], knobs.block_size, is_causal=is_causal)


def site(tokens: int, domain: Domain = "causal") -> Site:
    return Site(embed_dim=20, tokens=tokens, domain=domain)


def queries_and_keys(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 4, tokens, 6), torch.randn(2, 2, tokens, 6)


@pytest.mark.parametrize("domain", ["sequence", "causal"])
@pytest.mark.parametrize("topk", [5, 9])
def test_all_blocks_chosen_is_full_attention(build: Callable[..., Any], domain: Domain, topk: int) -> None:
    layer = build("block_routing", site(17, domain), **HEADS, block_size=4, topk=topk)
    full = build("softmax", site(17, domain), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = torch.randn(2, 17, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("tokens", [17, 63])
def test_one_block_chosen_is_the_own_one(is_causal: bool, tokens: int) -> None:
    mask = routed_mask(*queries_and_keys(tokens), Knobs(**HEADS, block_size=4, topk=1), is_causal=is_causal)
    diagonal = torch.block_diag(*[torch.ones(4, 4)] * 16)[:tokens, :tokens].bool()
    assert torch.equal(mask, (diagonal.tril() if is_causal else diagonal).expand_as(mask))


@pytest.mark.parametrize("topk", [1, 2, 3])
def test_causal_pairs_of_the_cost_are_those_of_the_mask(topk: int) -> None:
    knobs = Knobs(**HEADS, block_size=4, topk=topk)
    mask = routed_mask(*queries_and_keys(63), knobs, is_causal=True)
    assert not mask.triu(1).any()
    pairs = mask.sum((2, 3))
    assert (pairs == operators.get("block_routing").cost(knobs, site(63)).pairs).all()


def test_bidirectional_pairs_of_the_cost_are_those_of_the_mask_for_whole_blocks() -> None:
    knobs = Knobs(**HEADS, block_size=4, topk=3)
    mask = routed_mask(*queries_and_keys(64), knobs, is_causal=False)
    assert (mask.sum((2, 3)) == operators.get("block_routing").cost(knobs, site(64, "sequence")).pairs).all()


def test_the_block_with_the_aligned_mean_key_is_chosen() -> None:
    q, k = torch.zeros(1, 1, 16, 2), torch.zeros(1, 1, 16, 2)
    k[0, 0, 4:8] = torch.tensor([1.0, 0.0])
    k[0, 0, 8:12] = torch.tensor([0.0, 1.0])
    q[0, 0, 14], q[0, 0, 15] = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    knobs = Knobs(num_heads=1, num_kv_heads=1, head_dim=2, block_size=4, topk=2)
    mask = routed_mask(q, k, knobs, is_causal=True)[0, 0]
    assert mask[14].nonzero().flatten().tolist() == [4, 5, 6, 7, 12, 13, 14]
    assert mask[15].nonzero().flatten().tolist() == [8, 9, 10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("topk", [1, 2, 3])
@pytest.mark.parametrize("tokens", [17, 20, 63])
def test_the_mask_of_a_step_is_the_last_row(tokens: int, topk: int) -> None:
    (q, k), knobs = queries_and_keys(tokens), Knobs(**HEADS, block_size=4, topk=topk)
    whole = routed_mask(q, k, knobs, is_causal=True)
    assert torch.equal(newest_mask(q[:, :, -1:], k, knobs), whole[:, :, -1:])


def test_query_heads_of_one_kv_group_route_for_themselves() -> None:
    mask = routed_mask(*queries_and_keys(64), Knobs(**HEADS, block_size=4, topk=2), is_causal=True)
    assert not torch.equal(mask[:, 0], mask[:, 1])


@pytest.mark.parametrize("domain", ["sequence", "causal"])
def test_long_sequences_compute_their_blocks_alone(build: Callable[..., Any], domain: Domain) -> None:
    layer = build("block_routing", site(700, domain), **HEADS, block_size=32, topk=2)
    x = torch.randn(1, 700, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-12, rtol=0)
    flops = layer.mixer.cost(layer.knobs, site(700, domain)).flops
    assert (
        counted(partial(layer, x))
        == flops
        < 0.5 * build("softmax", site(700, domain), **HEADS).mixer.cost(HeadKnobs(**HEADS), site(700, domain)).flops
    )
