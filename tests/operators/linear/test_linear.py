import math

import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.linear.linear import Knobs, Mixer

GQA = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
MHA = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 8}
MAPS = ["elu", "relu", "taylor2", "hedgehog"]


def site(tokens=100, domain="causal"):
    return Site(embed_dim=12, tokens=tokens, domain=domain)


def inputs(tokens=100):
    return torch.randn(2, tokens, 12, dtype=torch.float64)


@pytest.mark.parametrize("feature_map", MAPS)
@pytest.mark.parametrize("tokens", [1, 17, 63, 100])
def test_chunked_quadratic_and_recurrent_forms_agree(build, tokens, feature_map):
    layer = build("linear", site(tokens), **GQA, feature_map=feature_map, feature_dim=4)
    x = inputs(tokens)
    y, state = layer.decode(x)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(y, layer.reference(x), rtol=0, atol=1e-12)
    allocated = 4 * sum(part[0].numel() for part in state)
    assert Mixer.cost(layer.knobs, site(tokens)).kv_cache_bytes == allocated


@pytest.mark.parametrize("feature_map", MAPS)
def test_gradients_equal_those_of_the_reference(build, feature_map):
    layer = build("linear", site(70), **MHA, feature_map=feature_map, feature_dim=4)
    x = inputs(70)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


def test_taylor_weights_are_the_second_order_exponential(build):
    layer = build("linear", site(domain="sequence"), **MHA, feature_map="taylor2", feature_dim=4)
    x = inputs()
    q, k = (part(x, 3, 8)[..., :4] for part in (layer.projections.query, layer.projections.key))
    score = q @ k.transpose(-1, -2) / math.sqrt(4)
    weights = 1 + score + score**2 / 2
    assert weights.min() >= 0.5
    y = weights / weights.sum(-1, keepdim=True) @ layer.projections.value(x, 3, 8)
    torch.testing.assert_close(layer(x), layer.projections.output(y, 12), rtol=0, atol=1e-12)
    assert Mixer.rank(layer.knobs, site()) == 1 + 4 + 16


def test_hedgehog_features_are_positive_and_sum_to_two(build):
    layer = build("linear", site(), **GQA, feature_map="hedgehog", feature_dim=4)
    phi_q, phi_k, _ = layer.mixer._mapped(inputs(), layer.projections, layer.knobs)
    for phi in (phi_q, phi_k):
        assert (phi > 0).all()
        torch.testing.assert_close(phi.sum(-1), torch.full(phi.shape[:-1], 2.0, dtype=phi.dtype))


def test_only_hedgehog_has_parameters():
    fixed = Knobs(**MHA, feature_map="elu", feature_dim=8)
    learned = Knobs(**MHA, feature_map="hedgehog", feature_dim=4)
    assert not list(Mixer([fixed], site()).parameters())
    both = Mixer([fixed, learned], site())
    assert [tuple(parameter.shape) for parameter in both.parameters()] == [(3, 4, 4), (3, 4, 4)]


def test_constant_values_pass_unchanged(build):
    layer = build("linear", site(), **GQA, feature_map="elu", feature_dim=8)
    with torch.no_grad():
        layer.projections.v.weight[..., 1:] = 0
    x = inputs()
    x[..., 0] = 1.0
    y = layer(x)
    torch.testing.assert_close(y, y[:1, :1].expand_as(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("feature_map", MAPS)
def test_without_a_mask_permuted_tokens_permute_the_outputs(build, feature_map):
    layer = build("linear", site(domain="sequence"), **GQA, feature_map=feature_map, feature_dim=4)
    x, order = inputs(), torch.randperm(100)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-12)


def test_wrong_knobs_are_explained():
    with pytest.raises(
        ArchError, match="feature_map must be one of elu, relu, taylor2, spherical, hedgehog, got 'cosine'"
    ):
        Knobs(**MHA, feature_map="cosine", feature_dim=4)
    with pytest.raises(ArchError, match=r"feature_dim must be at most head_dim \(8\), got 9"):
        Knobs(**MHA, feature_map="elu", feature_dim=9)


def test_in_bfloat16_the_state_is_kept_in_float32(build):
    layer = build("linear", site(), **GQA, feature_map="elu", feature_dim=8)
    x = inputs().bfloat16()
    layer.mixer.bfloat16(), layer.projections.bfloat16()
    y, state = layer.decode(x)
    assert y.dtype == torch.bfloat16
    assert {part.dtype for part in state} == {torch.float32}
    torch.testing.assert_close(y, layer(x), rtol=0.05, atol=0.02)
