import pytest
import torch

from nas.errors import ArchError
from nas.gates import squeeze_excitation
from nas.gates.cbam import Gate
from nas.operators.contract import Context, Site

SITE = Site(embed_dim=24, tokens=63, domain="image", grid=(9, 7))


def inputs():
    return torch.randn(2, 63, 24, dtype=torch.float64)


def without_places(gate):
    with torch.no_grad():
        gate.kernel.zero_()
    return gate


def test_zero_weights_leave_a_quarter():
    gate, y = Gate(SITE).double(), inputs()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
    torch.testing.assert_close(gate(y, Context(SITE)), 0.25 * y)


def test_without_places_and_maxima_it_is_squeeze_and_excitation():
    gate, channels = without_places(Gate(SITE).double()), squeeze_excitation.Gate(SITE).double()
    channels.excitation.load_state_dict(gate.excitation.state_dict())
    # every maximum is zero, of which the perceptron without biases makes nothing; no places halve
    y = inputs()
    y = y - y.amax(1, keepdim=True)
    torch.testing.assert_close(gate(y, Context(SITE)), 0.5 * channels(y, Context(SITE)), rtol=0, atol=1e-12)


def test_channel_factors_do_not_depend_on_the_order_of_the_places():
    gate, y, order = without_places(Gate(SITE).double()), inputs(), torch.randperm(63)
    torch.testing.assert_close(gate(y[:, order], Context(SITE)), gate(y, Context(SITE))[:, order], rtol=0, atol=1e-12)


def test_place_factors_do_not_depend_on_the_order_of_the_channels():
    gate, y, order = Gate(SITE).double(), inputs(), torch.randperm(24)
    with torch.no_grad():
        for parameter in gate.excitation.parameters():
            parameter.zero_()
    permuted = gate(y[..., order], Context(SITE))
    torch.testing.assert_close(permuted, gate(y, Context(SITE))[..., order], rtol=0, atol=1e-12)


def test_parameters_are_the_published_count_less_the_batch_norm():
    site = Site(embed_dim=256, tokens=49, domain="image", grid=(7, 7))
    batch_norm, bias = 2, 1
    assert Gate.cost(site).params == 8564 - batch_norm + bias


def test_a_grid_is_needed():
    gate = Gate(SITE)
    with pytest.raises(ArchError, match="needs a grid of 63 tokens, got None"):
        gate(torch.randn(1, 63, 24), Context(Site(embed_dim=24, tokens=63, domain="image")))
