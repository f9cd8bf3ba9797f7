import pytest
import torch

from nas.errors import ArchError
from nas.gates import bottleneck, coordinate, subspace, triplet
from nas.operators.contract import Context, Site

SITE = Site(embed_dim=24, tokens=63, domain="image", grid=(9, 7))


def inputs():
    return torch.randn(2, 63, 24, dtype=torch.float64)


def silent(gate):
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
    return gate.double()


def test_zero_weights_of_coordinate_attention_leave_a_quarter():
    y = inputs()
    torch.testing.assert_close(silent(coordinate.Gate(SITE))(y, Context(SITE)), 0.25 * y, rtol=0, atol=0)


def test_a_coordinate_factor_is_one_of_its_row_times_one_of_its_column():
    y = inputs()
    factors = (coordinate.Gate(SITE).double()(y, Context(SITE)) / y).reshape(2, 9, 7, 24)
    crossed = factors[:, :1, :] * factors[:, :, :1] / factors[:, :1, :1]
    torch.testing.assert_close(factors, crossed, rtol=1e-9, atol=0)


def test_constant_gates_of_triplet_attention_scale_everything_by_the_sigmoid_of_their_bias():
    gate, y = silent(triplet.Gate(SITE)), inputs()
    with torch.no_grad():
        gate.biases.fill_(0.7)
    wanted = torch.tensor(0.7, dtype=torch.float64).sigmoid() * y
    torch.testing.assert_close(gate(y, Context(SITE)), wanted, rtol=0, atol=1e-12)


def test_triplet_attention_has_the_published_count_less_the_batch_norms_at_every_width():
    batch_norm, bias = 2, 1
    for width in (6, 256):
        site = Site(embed_dim=width, tokens=63, domain="image", grid=(9, 7))
        assert triplet.Gate.cost(site).params == 300 - 3 * batch_norm + 3 * bias


def test_triplet_attention_is_the_mean_of_three_gated_copies():
    gate, y = triplet.Gate(SITE).double(), inputs()
    places = y.transpose(1, 2).reshape(2, 24, 9, 7)
    total = torch.zeros_like(places)
    for i, order in enumerate(((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))):
        turned = places.permute(order)
        maps = torch.stack((turned.amax(1), turned.mean(1)), dim=1)
        mask = torch.nn.functional.conv2d(maps, gate.kernels[i], gate.biases[i], padding=3).sigmoid()
        total = total + (turned * mask).permute(torch.tensor(order).argsort().tolist())
    wanted = (total / 3).flatten(2).transpose(1, 2)
    torch.testing.assert_close(gate(y, Context(SITE)), wanted, rtol=0, atol=1e-12)


def test_bottleneck_attention_lies_between_once_and_twice_the_input():
    y = inputs().abs()
    out = bottleneck.Gate(SITE).double()(y, Context(SITE))
    assert ((out >= y) & (out <= 2 * y)).all()


def test_bottleneck_attention_adds_its_branches():
    gate, y = bottleneck.Gate(SITE).double(), inputs()
    with torch.no_grad():
        gate.collect.weight.zero_()
        gate.collect.bias.fill_(0.3)
    logits = gate.excitation(y.mean(1, keepdim=True)) + 0.3
    torch.testing.assert_close(gate(y, Context(SITE)), y * (1 + logits.sigmoid()), rtol=0, atol=1e-12)


def test_bottleneck_attention_has_the_published_count_less_the_batch_norms():
    batch_norms = 4 * 2 * 16
    assert bottleneck.Gate.cost(Site(embed_dim=256, tokens=49, domain="image")).params == 17_361 - batch_norms


def test_maps_of_subspaces_sum_to_one():
    y = inputs()
    maps = subspace.Gate(SITE).double()(y, Context(SITE)) / y - 1
    torch.testing.assert_close(maps.sum(1), torch.ones(2, 24, dtype=torch.float64), rtol=0, atol=1e-9)


def test_constant_inputs_of_subspaces_grow_by_one_part_in_the_places():
    y = torch.randn(2, 1, 24, dtype=torch.float64).expand(2, 63, 24)
    torch.testing.assert_close(subspace.Gate(SITE).double()(y, Context(SITE)), y * (1 + 1 / 63), rtol=0, atol=1e-12)


def test_a_subspace_depends_on_its_own_channels_alone():
    gate, y = subspace.Gate(SITE).double(), inputs()
    other, own = y.clone(), torch.arange(24) % subspace.GROUPS == 1
    other[..., ~own] = torch.randn_like(other[..., ~own])
    one, two = gate(y, Context(SITE)), gate(other, Context(SITE))
    torch.testing.assert_close(one[..., own], two[..., own], rtol=0, atol=0)
    assert not torch.allclose(one[..., ~own], two[..., ~own])


@pytest.mark.parametrize("module", [bottleneck, coordinate, subspace, triplet], ids=lambda module: module.__name__)
def test_a_grid_is_needed(module):
    gate = module.Gate(SITE)
    with pytest.raises(ArchError, match=r"needs a grid of 63 tokens, got None"):
        gate(torch.randn(1, 63, 24), Context(Site(embed_dim=24, tokens=63, domain="image")))
