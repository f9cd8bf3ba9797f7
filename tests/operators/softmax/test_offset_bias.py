"""Operators with a bias per offset: wide values, talking heads, heads in a row."""

import pytest
import torch
import torch.nn.functional as F

from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.offset_bias import new_bias, spread, spread_slowly

SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))
X = torch.randn(2, 35, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("site", [SITE, Site(embed_dim=4, tokens=9, domain="sequence")])
def test_mirrored_offsets_share_a_number(site):
    table = new_bias(3, site)
    with torch.no_grad():
        table.normal_()
    bias = spread(table, 2, site)
    assert torch.equal(bias, spread_slowly(table, 2, site))
    assert torch.equal(bias, bias.transpose(1, 2))
    assert bias.unique().numel() == table[:2].numel()


def test_wide_values_without_bias_are_softmax_under_a_hardswish(build):
    layer = build("wide_values", SITE, num_heads=3, head_dim=4, value_ratio=2)
    q, k = layer.projections.query(X, 3, 4), layer.projections.key(X, 3, 4)
    v = layer.mixer.v(X, 3, 8).transpose(1, 2)
    y = F.hardswish(attention.reference(q, k, v).transpose(1, 2))
    torch.testing.assert_close(layer(X), layer.mixer.o(y, 12), rtol=0, atol=1e-12)


def test_a_bias_of_one_offset_alone_makes_every_token_look_there(build):
    layer = build("wide_values", SITE, num_heads=1, head_dim=4, value_ratio=1)
    with torch.no_grad():
        layer.mixer.bias[:, 0, 0] = 1e4
    v = layer.mixer.v(X, 1, 4).transpose(1, 2)
    torch.testing.assert_close(layer(X), layer.mixer.o(F.hardswish(v.transpose(1, 2)), 12), rtol=0, atol=1e-9)


def test_heads_that_do_not_talk_are_those_of_wide_values(build):
    talking = build("talking_heads", SITE, num_heads=3, head_dim=4, value_ratio=2, kernel_size=3)
    with torch.no_grad():
        talking.mixer.taps.zero_()
    q, k = talking.projections.query(X, 3, 4), talking.projections.key(X, 3, 4)
    v = talking.mixer.v(X, 3, 8).transpose(1, 2)
    y = F.gelu(attention.reference(q, k, v).transpose(1, 2))
    torch.testing.assert_close(talking(X), talking.mixer.o(y, 12), rtol=0, atol=1e-12)


def test_heads_that_swap_their_weights_swap_their_patterns(build):
    layer = build("talking_heads", SITE, num_heads=2, head_dim=4, value_ratio=1, kernel_size=1)
    with torch.no_grad():
        layer.mixer.taps.zero_()
        layer.mixer.after.copy_(torch.eye(2).flip(0))
    q, k = layer.projections.query(X, 2, 4), layer.projections.key(X, 2, 4)
    v = layer.mixer.v(X, 2, 4).transpose(1, 2)
    y = F.gelu(attention.reference(q.flip(1), k.flip(1), v).transpose(1, 2))
    torch.testing.assert_close(layer(X), layer.mixer.o(y, 12), rtol=0, atol=1e-12)


def test_one_head_in_one_window_is_attention_on_all_channels(build):
    layer = build("cascaded_groups", SITE, num_heads=1, key_dim=4, window_size=7, kernel_size=3)
    with torch.no_grad():
        layer.mixer.taps.zero_()
        layer.mixer.taps[..., 0] = 1
    q, k, v = (F.linear(X, weight[0]).unsqueeze(1) for weight in (layer.mixer.q, layer.mixer.k, layer.mixer.v))
    y = attention.reference(q, k, v).squeeze(1).relu() @ layer.mixer.o.weight.T
    torch.testing.assert_close(layer(X), y, rtol=0, atol=1e-12)


def test_a_later_head_sees_what_the_earlier_one_gave(build):
    layer = build("cascaded_groups", SITE, num_heads=2, key_dim=4, window_size=7, kernel_size=1)
    with torch.no_grad():
        layer.mixer.o.weight.copy_(torch.eye(12))
        layer.mixer.v[1] = torch.eye(6)
        layer.mixer.q[1].zero_()
    y, other = layer(X), X.clone()
    first = layer.mixer.v[0]
    assert first.shape == (6, 6)
    other[..., ::2] += 1.0  # the first head's channels alone
    assert not torch.allclose(layer(other)[..., 1::2], y[..., 1::2])
    other = X.clone()
    other[..., 1::2] += 1.0
    torch.testing.assert_close(layer(other)[..., ::2], y[..., ::2], rtol=0, atol=1e-12)
