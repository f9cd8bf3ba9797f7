import pytest
import torch

from nas.operators.channel.cross_covariance import Mixer
from nas.operators.contract import Site

KNOBS = {"num_heads": 3, "head_dim": 8}


def site(tokens=63):
    return Site(embed_dim=12, tokens=tokens, domain="sequence")


def inputs(tokens=63):
    return torch.randn(2, tokens, 12, dtype=torch.float64)


@pytest.mark.parametrize("tokens", [1, 17, 63, 100])
def test_forward_and_gradients_equal_the_reference(build, tokens):
    layer = build("cross_covariance", site(tokens), **KNOBS)
    x = inputs(tokens)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


def test_permuted_tokens_permute_the_outputs(build):
    layer, x, order = build("cross_covariance", site(), **KNOBS), inputs(), torch.randperm(63)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-12)


def test_every_token_twice_changes_no_output(build):
    layer, x = build("cross_covariance", site(), **KNOBS), inputs()
    torch.testing.assert_close(layer(x.repeat(1, 2, 1))[:, :63], layer(x), rtol=0, atol=1e-12)


def test_heads_of_one_channel_only_map_the_values(build):
    layer, x = build("cross_covariance", site(), num_heads=12, head_dim=1), inputs()
    values = layer.projections.output(layer.projections.value(x, 12, 1), 12)
    torch.testing.assert_close(layer(x), values, rtol=0, atol=1e-12)


def test_it_is_linear_in_the_tokens(build):
    knobs = build("cross_covariance", site(), **KNOBS).knobs
    assert Mixer.cost(knobs, site(126)).flops == 2 * Mixer.cost(knobs, site(63)).flops
