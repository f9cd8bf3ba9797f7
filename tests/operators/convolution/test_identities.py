"""What convolutions become at special weights, as their sources say."""

import pytest
import torch

from nas.operators.contract import Site
from nas.operators.taps import convolved, offsets

IMAGE = Site(embed_dim=12, tokens=63, domain="image", grid=(9, 7))
TEXT = Site(embed_dim=12, tokens=17, domain="causal")
sites = pytest.mark.parametrize("site", [IMAGE, TEXT], ids=lambda site: site.domain)


def inputs(site):
    return torch.randn(2, site.tokens, 12, dtype=torch.float64)


def inner(y, margin=2):
    """Tokens of the image whose neighbours are all inside."""
    return y.view(y.shape[0], 9, 7, -1)[:, margin:-margin, margin:-margin]


@sites
def test_a_plain_convolution_of_diagonal_matrices_is_a_depthwise_one(build, site):
    layer, x = build("dense_convolution", site, kernel_size=3), inputs(site)
    taps = torch.randn(12, len(offsets(3, site.domain)), dtype=torch.float64)
    with torch.no_grad():
        layer.mixer.taps.copy_(torch.eye(12)[..., None] * taps)
    torch.testing.assert_close(layer(x), convolved(x, taps, 3, site), rtol=0, atol=1e-12)


@sites
def test_branches_that_are_zero_leave_the_identity_and_the_map(build, site):
    layer, x = build("merged_branches", site, kernel_size=3, groups=4), inputs(site)
    with torch.no_grad():
        layer.mixer.taps.zero_()
        layer.mixer.point.zero_()
        layer.mixer.blocks.zero_()
    torch.testing.assert_close(layer(x), x @ layer.mixer.pointwise.weight.T, rtol=0, atol=1e-12)


@sites
def test_merged_branches_are_one_depthwise_convolution(build, site):
    layer, plain, x = (
        build("merged_branches", site, kernel_size=3, groups=2),
        build("depthwise", site, kernel_size=3),
        inputs(site),
    )
    mixer = layer.mixer
    with torch.no_grad():
        mixer.point.normal_()
        plain.mixer.taps.copy_(mixer.taps)
        plain.mixer.taps[:, 0] += mixer.point + 1
        plain.mixer.pointwise.weight.copy_(mixer.pointwise.weight)
        for group, block in enumerate(mixer.blocks):
            plain.mixer.pointwise.weight[group::2, group::2] += block
    torch.testing.assert_close(layer.reference(x), plain(x), rtol=0, atol=1e-12)


@sites
def test_a_modulation_of_one_tap_is_per_token(build, site):
    layer, x = build("modulation", site, num_heads=2, head_dim=4, kernel_size=1), inputs(site)
    other = x.clone()
    other[:, 5] = 0
    changed = (layer(other) - layer(x)).abs().sum(-1) > 1e-12
    assert changed[:, 5].all() and changed.sum() == 2


@pytest.mark.parametrize("name", ["modulation", "affinity_kernels"])
def test_a_constant_image_stays_constant_away_from_the_edges(build, name):
    own = {"modulation": {"kernel_size": 5}, "affinity_kernels": {"kernel_size": 5, "region_edge": 3}}[name]
    layer = build(name, IMAGE, num_heads=2, head_dim=4, **own)
    x = torch.randn(2, 1, 12, dtype=torch.float64).expand(2, 63, 12)
    y = inner(layer(x))
    torch.testing.assert_close(y, y[:, :1, :1].expand_as(y), rtol=0, atol=1e-12)
    if name == "affinity_kernels":  # the taps sum to one
        torch.testing.assert_close(y, inner(x @ layer.mixer.o.weight.T), rtol=0, atol=1e-12)


def test_kernels_of_no_affinity_are_the_average_of_the_box(build):
    layer, x = build("affinity_kernels", IMAGE, num_heads=2, head_dim=4, kernel_size=3, region_edge=3), inputs(IMAGE)
    with torch.no_grad():
        layer.mixer.kernels.weight.zero_()
    box = convolved(x, torch.full((12, 9), 1 / 9, dtype=torch.float64), 3, IMAGE)
    torch.testing.assert_close(layer(x), box @ layer.mixer.o.weight.T, rtol=0, atol=1e-12)


@sites
def test_small_kernels_that_are_everywhere_the_same_are_a_shared_depthwise_one(build, site):
    layer, x = build("large_small", site, kernel_size=5, group_size=4), inputs(site)
    count = len(offsets(3, site.domain))
    with torch.no_grad():
        layer.mixer.kernels.weight.zero_()
        layer.mixer.shift.copy_(torch.randn(count))
    taps = layer.mixer.shift.detach().expand(12, count)
    torch.testing.assert_close(layer(x), convolved(x, taps, 3, site), rtol=0, atol=1e-12)
    with torch.no_grad():
        layer.mixer.shift.zero_()[0] = 1
    torch.testing.assert_close(layer(x), x, rtol=0, atol=1e-12)
