import pytest
import torch

from nas.errors import ArchError
from nas.gates import attentional_fusion, feature_fusion, hard_fusion, token_fusion
from nas.operators.contract import Context, Site

SITE = Site(embed_dim=24, tokens=30, domain="sequence")
FUSIONS = [attentional_fusion, feature_fusion, hard_fusion, token_fusion]
every_fusion = pytest.mark.parametrize("module", FUSIONS, ids=lambda module: module.__name__.rpartition(".")[2])


def inputs():
    return torch.randn(2, 30, 24, dtype=torch.float64)


@every_fusion
def test_equal_sides_pass_whatever_the_weights(module):
    gate, y = module.Gate(SITE).double(), inputs()
    torch.testing.assert_close(gate(y, Context(SITE, entered=y)), y, rtol=0, atol=1e-12)


@every_fusion
def test_silent_weights_give_the_mean_in_training(module):
    gate, x, y = module.Gate(SITE).double(), inputs(), inputs()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
    torch.testing.assert_close(gate(y, Context(SITE, entered=x)), (x + y) / 2, rtol=0, atol=1e-12)


@every_fusion
def test_what_the_mixer_read_has_to_be_told(module):
    with pytest.raises(ArchError, match=f"the gate {module.__name__.rpartition('.')[2]} weighs .* got None"):
        module.Gate(SITE).double()(inputs(), Context(SITE))


def test_attentional_fusion_of_both_orders_adds_up_to_the_sum():
    gate, x, y = attentional_fusion.Gate(SITE).double(), inputs(), inputs()
    both = gate(y, Context(SITE, entered=x)) + gate(x, Context(SITE, entered=y))
    torch.testing.assert_close(both, x + y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("module", [feature_fusion, token_fusion, hard_fusion])
@pytest.mark.parametrize("bias, side", [(60.0, 0), (-60.0, 1)])
def test_saturated_gates_take_one_side(module, bias, side):
    gate, sides = module.Gate(SITE).double(), (inputs(), inputs())
    with torch.no_grad():
        gate.weigh.bias.fill_(bias)
    torch.testing.assert_close(gate(sides[1], Context(SITE, entered=sides[0])), sides[side], rtol=0, atol=1e-9)


def test_hard_fusion_takes_one_side_of_every_token_in_evaluation():
    gate, x, y = hard_fusion.Gate(SITE).double().eval(), inputs(), inputs()
    out = gate(y, Context(SITE, entered=x))
    from_x, from_y = (out == x).all(-1), (out == y).all(-1)
    assert (from_x ^ from_y).all()
    assert from_x.any() and from_y.any()


def test_parameters_are_the_published_counts():
    assert token_fusion.Gate.cost(SITE).params == 2 * 24 + 1
    assert feature_fusion.Gate.cost(SITE).params == 2 * 24**2 + 24
