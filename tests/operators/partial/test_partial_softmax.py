import pytest
import torch

from nas.errors import ArchError
from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.partial.partial_softmax import Knobs, Mixer, _attended

SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))


def test_channels_that_pass_by_do_not_change_the_attention(build):
    layer, x = build("partial_softmax", SITE, num_heads=1, key_dim=4, share=25, kernel_size=3), torch.randn(2, 35, 12)
    with torch.no_grad():
        layer.mixer.o.weight.copy_(torch.eye(12))
    x, other = x.double(), x.double()
    passing = [channel for channel in range(12) if channel % 4 != 3]
    other[..., passing] = torch.randn(2, 35, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[..., 3::4], layer(other)[..., 3::4], rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x)[..., passing], x[..., passing].relu(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", [21, 50, 67])
def test_as_many_channels_attend_as_the_share_says(share):
    few, many = (_attended(width, share).tolist() for width in (12, 40))
    assert (len(few), len(many)) == (12 * share // 100, 40 * share // 100)
    assert few == [channel for channel in many if channel < 12]


@pytest.mark.parametrize("heads", [1, 3])
def test_all_channels_without_a_local_term_are_softmax_attention(build, heads):
    layer = build("partial_softmax", SITE, num_heads=heads, key_dim=4, share=100, kernel_size=1)
    x = torch.randn(2, 35, 12, dtype=torch.float64)
    q, k, v = (
        part(x, heads, size).transpose(1, 2)
        for part, size in ((layer.mixer.q, 4), (layer.mixer.k, 4), (layer.mixer.v, 12 // heads))
    )
    y = torch.stack(attention.reference(q, k, v).unbind(1), dim=-1).flatten(2).relu() @ layer.mixer.o.weight.T
    torch.testing.assert_close(layer(x), y, rtol=0, atol=1e-12)
    assert layer.mixer.taps is None


def test_less_of_the_channels_costs_less():
    costs = [
        Mixer.cost(
            Knobs(num_heads=1, key_dim=16, share=s, kernel_size=3),
            Site(embed_dim=64, tokens=196, domain="image", grid=(14, 14)),
        )
        for s in (100, 50, 25)
    ]
    assert [one.flops for one in costs] == sorted((one.flops for one in costs), reverse=True)
    assert costs[2].flops < 0.5 * costs[0].flops


def test_shares_that_do_not_divide_among_the_heads_are_refused():
    for share, heads in ((50, 4), (120, 1), (5, 1)):
        with pytest.raises(ArchError, match="share must leave num_heads"):
            Mixer.check(Knobs(num_heads=heads, key_dim=4, share=share, kernel_size=3), SITE)
