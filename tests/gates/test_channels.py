import pytest
import torch

from nas.gates import efficient_channel, previous_channels, squeeze_excitation
from nas.gates.efficient_channel import ChannelConvolution, kernel_size
from nas.operators.contract import Context, Site

SITE = Site(embed_dim=24, tokens=30, domain="image", grid=(6, 5))


def inputs():
    return torch.randn(2, 30, 24, dtype=torch.float64)


@pytest.mark.parametrize("width, taps", [(8, 3), (24, 3), (64, 3), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_follows_the_published_rule(width, taps):
    assert kernel_size(width) == taps


@pytest.mark.parametrize("width", [24, 200])
def test_taps_are_those_of_a_convolution_along_channels(width):
    layer, pooled = ChannelConvolution(width).double(), torch.randn(2, 1, width, dtype=torch.float64)
    near = {0: 0, -1: 1, 1: 2, -2: 3, 2: 4}
    reach = kernel_size(width) // 2
    kernel = torch.stack([layer.taps[near[offset]] for offset in range(-reach, reach + 1)])
    wanted = torch.nn.functional.conv1d(pooled, kernel.view(1, 1, -1), padding=reach)
    torch.testing.assert_close(layer(pooled), wanted, rtol=0, atol=1e-12)


def test_the_order_of_tokens_does_not_matter_to_factors():
    gate, y, order = efficient_channel.Gate(SITE).double(), inputs(), torch.randperm(30)
    torch.testing.assert_close(gate(y[:, order], Context(SITE)), gate(y, Context(SITE))[:, order], rtol=0, atol=1e-12)


def test_factors_of_previous_knowledge_lie_between_one_and_two():
    gate, y, context = previous_channels.Gate(SITE).double(), inputs(), Context(SITE)
    for _ in range(3):
        factors = gate(y, context) / y
        assert ((factors > 1) & (factors < 2)).all()


def test_without_the_weight_of_earlier_blocks_only_the_own_branch_is_left():
    gate, y = previous_channels.Gate(SITE).double(), inputs()
    context = Context(SITE)
    gate(inputs(), context)
    with torch.no_grad():
        gate.balance[1] = 0.0
    local = gate.local(y.mean(1, keepdim=True)).sigmoid()
    torch.testing.assert_close(gate(y, context), y * (1 + local.sigmoid()), rtol=0, atol=1e-12)
    torch.testing.assert_close(gate(y, context), gate(y, Context(SITE)), rtol=0, atol=1e-12)


def test_earlier_blocks_of_the_stage_are_heard_and_the_four_newest_kept():
    gate, y, context = previous_channels.Gate(SITE).double(), inputs(), Context(SITE)
    means = []
    for count in range(1, 7):
        source = inputs().abs()
        means.insert(0, source.mean(1, keepdim=True))
        gate(source, context)
        kept = context.published[previous_channels.NAME]
        torch.testing.assert_close(kept, torch.cat(means[:4], dim=1), rtol=0, atol=1e-12)
        assert kept.shape[1] == min(count, 4)
    heard = gate(y.abs(), context)
    assert not torch.allclose(heard, gate(y.abs(), Context(SITE)))


def test_previous_knowledge_has_the_published_count_of_weights():
    taps, sources = 5, 1 + previous_channels.SOURCES
    assert previous_channels.Gate.cost(Site(embed_dim=256, tokens=49, domain="image")).params == 2 * taps + sources + 2


def test_a_silent_last_layer_of_squeeze_and_excitation_halves_whatever_the_first_says():
    gate, y = squeeze_excitation.Gate(SITE).double(), inputs()
    with torch.no_grad():
        gate.excitation.excite.weight.zero_()
    torch.testing.assert_close(gate(y, Context(SITE)), 0.5 * y, rtol=0, atol=0)
