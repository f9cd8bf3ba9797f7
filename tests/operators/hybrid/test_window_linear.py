import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.hybrid.window_linear import Knobs, Mixer

GQA = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
KNOBS = {**GQA, "window_size": 5, "feature_dim": 4}


def site(tokens=63, domain="causal"):
    return Site(embed_dim=12, tokens=tokens, domain=domain)


def inputs(tokens=63):
    return torch.randn(2, tokens, 12, dtype=torch.float64)


def with_gains(layer, near, far):
    with torch.no_grad():
        layer.mixer.gains[0], layer.mixer.gains[1] = near, far
    return layer


@pytest.mark.parametrize("domain", ["causal", "sequence"])
@pytest.mark.parametrize("tokens", [1, 17, 100])
def test_one_gain_alone_leaves_that_branch(build, tokens, domain):
    here, x = site(tokens, domain), inputs(tokens)
    window = build("window", here, **GQA, window_size=5)
    linear = build("linear", here, **GQA, feature_map="taylor2", feature_dim=4)
    for gains, branch in (((1.0, 0.0), window), ((0.0, 1.0), linear)):
        layer = with_gains(build("window_linear", here, **KNOBS), *gains)
        layer.projections.load_state_dict(branch.projections.state_dict())
        torch.testing.assert_close(layer(x), branch(x), rtol=0, atol=1e-12)


def test_a_window_over_everything_is_causal_attention(build):
    full = build("softmax", site(), **GQA)
    layer = with_gains(build("window_linear", site(), **(KNOBS | {"window_size": 63})), 1.0, 0.0)
    layer.projections.load_state_dict(full.projections.state_dict())
    x = inputs()
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tokens", [1, 3, 63])
def test_decoding_equals_the_reference_and_its_state_is_as_costed(build, tokens):
    layer = with_gains(build("window_linear", site(tokens), **KNOBS), 0.3, 0.9)
    x = inputs(tokens)
    y, (total, k, v) = layer.decode(x)
    torch.testing.assert_close(y, layer.reference(x), rtol=0, atol=1e-12)
    allocated = 4 * sum(part[0].numel() for part in (*total, k, v))
    assert Mixer.cost(layer.knobs, site(tokens)).kv_cache_bytes == allocated


@pytest.mark.parametrize("domain", ["causal", "sequence"])
def test_gradients_equal_those_of_the_reference(build, domain):
    layer = build("window_linear", site(70, domain), **KNOBS)
    x = inputs(70)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


def test_wrong_knobs_are_explained():
    with pytest.raises(ArchError, match=r"feature_dim must be at most head_dim \(8\), got 9"):
        Knobs(**(KNOBS | {"feature_dim": 9}))
