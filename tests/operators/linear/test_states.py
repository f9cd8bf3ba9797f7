"""Summaries, gated states and mixed blocks: identities of the sources."""

import pytest
import torch

from nas.kernels import features, scan
from nas.operators.contract import Site

HEADS = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 4}
CAUSAL = Site(embed_dim=12, tokens=50, domain="causal")
SEQUENCE = Site(embed_dim=12, tokens=24, domain="sequence")
IMAGE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))


def inputs(site):
    return torch.randn(2, site.tokens, 12, dtype=torch.float64)


def heads(layer, x):
    return tuple(part(x, 2, 4) for part in (layer.projections.query, layer.projections.key, layer.projections.value))


@pytest.mark.parametrize("site", [SEQUENCE, IMAGE], ids=lambda site: site.domain)
def test_equal_mixtures_are_linear_attention(build, site):
    layer, x = build("block_mixing", site, **HEADS, blocks=2), inputs(site)
    with torch.no_grad():
        layer.mixer.log_mix["2"].zero_()
    q, k, v = heads(layer, x)
    wanted = scan.quadratic(features.relu(q), features.relu(k), v, is_causal=False, normalize=True)
    torch.testing.assert_close(layer(x), layer.projections.output(wanted, 12), rtol=0, atol=1e-12)


def test_mixtures_of_nothing_but_oneself_stay_inside_blocks(build):
    layer, x = build("block_mixing", SEQUENCE, **HEADS, blocks=3), inputs(SEQUENCE)
    with torch.no_grad():
        layer.mixer.log_mix["3"].fill_(-800.0).fill_diagonal_(0.0)
    other = x.clone()
    other[:, 8:] = torch.randn(2, 16, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(other)[:, :8], layer(x)[:, :8], rtol=0, atol=1e-12)
    assert not torch.allclose(layer(other)[:, 8:16], layer(x)[:, 8:16])


def test_more_blocks_have_a_higher_rank(build):
    ranks = []
    for blocks in (1, 6):
        layer, x = build("block_mixing", SEQUENCE, **HEADS, blocks=blocks), inputs(SEQUENCE)
        with torch.no_grad():
            layer.mixer.log_mix[str(blocks)].normal_()
        q, k, _ = heads(layer, x)
        at = torch.arange(24) // (24 // blocks)
        mix = layer.mixer.log_mix[str(blocks)].exp()[at][:, at]
        ranks.append(torch.linalg.matrix_rank((features.relu(q) @ features.relu(k).mT * mix)[0, 0]))
    assert ranks[0] <= 4 < ranks[1]


def test_open_gates_are_linear_attention(build):
    layer, x = build("gated", CAUSAL, **HEADS, gate_rank=3), inputs(CAUSAL)
    with torch.no_grad():
        layer.mixer.rate_down.weight.zero_()
        layer.mixer.rate_up.bias.fill_(80.0)
    q, k, v = heads(layer, x)
    plain = scan.quadratic(q / 2.0, k, v, is_causal=True)
    torch.testing.assert_close(
        layer(x), layer.mixer._finish(plain, x, layer.projections, layer.knobs), rtol=0, atol=1e-10
    )


def test_gates_decay_by_their_running_product(build):
    layer, x = build("gated", CAUSAL, **HEADS, gate_rank=3), inputs(CAUSAL)
    q, k, v = heads(layer, x)
    past = layer.mixer._rates(x, layer.knobs).cumsum(2)
    weights = ((q * past.exp()) @ (k * (-past).exp()).mT).tril() / 2.0
    wanted = layer.mixer._finish(weights @ v, x, layer.projections, layer.knobs)
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-9)


def test_gates_of_a_memory_that_do_nothing_are_linear_attention(build):
    layer, x = build("exponential_gates", CAUSAL, **HEADS), inputs(CAUSAL)
    with torch.no_grad():
        for gate, bias in ((layer.mixer.forget, 80.0), (layer.mixer.input, 0.0)):
            gate.weight.zero_()
            gate.bias.fill_(bias)
    q, k, v = heads(layer, x)
    weights = (q @ k.mT / 2.0).tril()
    y = weights @ v / weights.sum(-1, keepdim=True).abs().clamp_min(1.0)
    torch.testing.assert_close(layer(x), layer.mixer._normed(y, x, layer.projections, layer.knobs), rtol=0, atol=1e-10)


def test_a_summary_takes_a_token_twice_as_once(build):
    layer = build("efficient", Site(embed_dim=12, tokens=48, domain="sequence"), **HEADS)
    x = inputs(SEQUENCE)
    torch.testing.assert_close(layer(torch.cat((x, x), dim=1))[:, :24], layer(x), rtol=0, atol=1e-12)


def test_spherical_features_are_positive_and_see_no_length():
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    found = features.spherical(x)
    assert found.shape == (3, 7, features.feature_dim("spherical", 8)) and (found >= 0).all()
    torch.testing.assert_close(features.spherical(5.0 * x), found, rtol=0, atol=1e-12)


def test_the_one_node_kernel_is_what_many_random_features_tend_to():
    rng = torch.Generator().manual_seed(1)
    u, w = torch.nn.functional.normalize(torch.randn(2, 4, generator=rng, dtype=torch.float64), dim=-1)
    node, cosine = 1 / features.YAT, float(u @ w)
    directions = torch.randn(400_000, 4, generator=rng, dtype=torch.float64)
    one, other = (((2 * node) ** 0.5 * directions @ part - node).exp() for part in (u, w))
    estimate = cosine**2 / features.YAT * (one * other).mean()
    exact = cosine**2 / features.YAT * torch.tensor(2 * node * cosine, dtype=torch.float64).exp()
    torch.testing.assert_close(estimate, exact, rtol=0.02, atol=0)
