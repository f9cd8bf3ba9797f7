import torch

from nas.gates.squeeze_excitation import Gate, hidden_width
from nas.operators.contract import Context, Site

SITE = Site(embed_dim=24, tokens=30, domain="sequence")


def test_zero_weights_halve():
    gate = Gate(SITE)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
    y = torch.randn(2, 30, 24)
    torch.testing.assert_close(gate(y, Context(SITE)), 0.5 * y)


def test_factors_do_not_depend_on_the_order_of_the_tokens():
    gate, y, order = Gate(SITE).double(), torch.randn(2, 30, 24, dtype=torch.float64), torch.randperm(30)
    torch.testing.assert_close(gate(y[:, order], Context(SITE)), gate(y, Context(SITE))[:, order], rtol=0, atol=1e-12)


def test_all_tokens_of_a_channel_get_one_factor():
    gate, y = Gate(SITE).double(), torch.randn(2, 30, 24, dtype=torch.float64)
    factors = gate(y, Context(SITE)) / y
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=0, atol=1e-9)


def test_pooling_over_all_tokens_is_not_causal():
    assert "causal" not in Gate.domains


def test_hidden_units_follow_the_width_down_to_a_floor():
    assert [hidden_width(width) for width in (24, 128, 256, 512)] == [8, 8, 16, 32]
