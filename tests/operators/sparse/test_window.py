from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas import operators
from nas.arch import OperatorArch
from nas.operators.contract import Site
from nas.shapes import Domain

HEADS = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 6}


def site(tokens: int, domain: Domain = "causal") -> Site:
    return Site(embed_dim=20, tokens=tokens, domain=domain)


@pytest.mark.parametrize("tokens", [1, 17, 63, 100])
@pytest.mark.parametrize("surplus", [0, 5])
def test_window_over_the_whole_sequence_is_causal_attention(
    build: Callable[..., Any], tokens: int, surplus: int
) -> None:
    layer, full = (
        build("window", site(tokens), **HEADS, window_size=tokens + surplus),
        build("softmax", site(tokens), **HEADS),
    )
    full.projections.load_state_dict(layer.projections.state_dict())
    x = torch.randn(2, tokens, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), full(x), atol=1e-12, rtol=0)


def test_window_of_one_is_the_value_itself(build: Callable[..., Any]) -> None:
    layer = build("window", site(17), **HEADS, window_size=1)
    x = torch.randn(2, 17, 20, dtype=torch.float64)
    v = layer.projections.value(x, 2, 6).repeat_interleave(2, dim=1)
    torch.testing.assert_close(layer(x), layer.projections.output(v, 20, layer.knobs.num_kv_heads), atol=1e-12, rtol=0)


@pytest.mark.parametrize("domain", ["sequence", "causal"])
@pytest.mark.parametrize("window_size", [2, 31, 64, 100])
def test_gathered_windows_equal_the_reference(build: Callable[..., Any], domain: Domain, window_size: int) -> None:
    layer = build("window", site(301, domain), **HEADS, window_size=window_size)
    x = torch.randn(1, 301, 20, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("window_size", "first", "last"), [(5, 8, 12), (4, 8, 11), (1, 10, 10)])
def test_bidirectional_windows_count_the_query(window_size: int, first: int, last: int) -> None:
    operator = operators.get("window")
    knobs = operators.parse(OperatorArch.of("window", **HEADS, window_size=window_size))
    seen = operator.mask(knobs, site(21, "sequence"), 21)[10].nonzero().flatten()
    assert (int(seen[0]), int(seen[-1]), len(seen)) == (first, last, window_size)


@pytest.mark.parametrize("tokens", [6, 17, 200])
def test_cost_counts_the_band_and_keeps_one_window(tokens: int) -> None:
    knobs = operators.parse(OperatorArch.of("window", **HEADS, window_size=6))
    cost = operators.get("window").cost(knobs, site(tokens))
    assert cost.pairs == 6 * tokens - 15
    assert cost.kv_cache_bytes == 6 * 2 * 2 * 6 * 4


def test_decoding_keeps_one_window(build: Callable[..., Any]) -> None:
    layer = build("window", site(17), **HEADS, window_size=6)
    _, state = layer.decode(torch.randn(1, 17, 20, dtype=torch.float64))
    assert [part.shape for part in state] == [(1, 2, 6, 6)] * 2


def test_pattern_first_used_under_inference_mode_trains_later(build: Callable[..., Any]) -> None:
    layer = build("window", site(29), **HEADS, window_size=3)
    x = torch.randn(1, 29, 20, dtype=torch.float64)
    with torch.inference_mode():
        layer(x)
    assert all(gradient.isfinite().all() for gradient in layer.gradients(x))
