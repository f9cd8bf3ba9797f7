from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas import operators
from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Site
from nas.shapes import Domain

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int, domain: Domain = "causal") -> Site:
    return Site(embed_dim=20, tokens=tokens, domain=domain)


def visible(tokens: int, domain: Domain = "causal", **knobs: int) -> torch.Tensor:
    parsed = operators.parse(OperatorArch.of("power_distance", **HEADS, **knobs))
    return operators.get("power_distance").mask(parsed, site(tokens, domain), tokens)


def test_last_query_sees_near_power_and_first_blocks() -> None:
    seen = visible(23, block_size=1, num_local=2, num_sink=2)[22].nonzero().flatten()
    assert (22 - seen).tolist() == [22, 21, 16, 8, 4, 2, 1, 0]


def test_bidirectional_distances_count_both_ways() -> None:
    seen = visible(37, "sequence", block_size=3, num_local=1, num_sink=0)
    assert torch.equal(seen, seen.T)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_layers_reach_a_contiguous_range(layers: int) -> None:
    hop = visible(96, block_size=1, num_local=1, num_sink=0).double()
    reached = torch.linalg.matrix_power(hop, layers)[-1].flip(0) > 0
    first_hole = int((~reached).nonzero()[0])
    assert first_hole == 2 ** (layers + 1) - 1


def test_six_layers_fill_the_causal_triangle() -> None:
    hop = visible(96, block_size=1, num_local=1, num_sink=0).double()
    assert torch.equal(torch.linalg.matrix_power(hop, 6) > 0, torch.ones(96, 96).tril().bool())


@pytest.mark.parametrize("domain", ["sequence", "causal"])
def test_all_blocks_local_is_full_attention(build: Callable[..., Any], domain: Domain) -> None:
    layer = build("power_distance", site(63, domain), **HEADS, block_size=8, num_local=8, num_sink=0)
    full = build("softmax", site(63, domain), **HEADS)
    full.projections.load_state_dict(layer.projections.state_dict())
    x = torch.randn(2, 63, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("domain", ["sequence", "causal"])
def test_gathered_blocks_equal_the_reference(build: Callable[..., Any], domain: Domain) -> None:
    layer = build("power_distance", site(530, domain), **HEADS, block_size=16, num_local=3, num_sink=1)
    x = torch.randn(1, 530, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-10, rtol=0)


def test_sinks_alone_may_be_none() -> None:
    knobs = {**HEADS, "block_size": 4, "num_local": 1}
    assert operators.parse(OperatorArch.of("power_distance", **knobs, num_sink=0)).num_sink == 0
    with pytest.raises(ArchError, match="num_sink must be a whole number of at least 0, got -1"):
        operators.parse(OperatorArch.of("power_distance", **knobs, num_sink=-1))
