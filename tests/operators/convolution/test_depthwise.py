import pytest
import torch
import torch.nn.functional as F

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.convolution.depthwise import Knobs, Mixer, offsets

SITES = [
    Site(embed_dim=12, tokens=63, domain="image", grid=(9, 7)),
    Site(embed_dim=12, tokens=17, domain="image", grid=(1, 17)),
    Site(embed_dim=12, tokens=17, domain="sequence"),
    Site(embed_dim=12, tokens=1, domain="causal"),
    Site(embed_dim=12, tokens=63, domain="causal"),
]
sites = pytest.mark.parametrize("site", SITES, ids=lambda site: f"{site.domain}-{site.grid or site.tokens}")


def inputs(site):
    return torch.randn(2, site.tokens, 12, dtype=torch.float64)


def plain(layer):
    """Without the map of the channels."""
    with torch.no_grad():
        layer.mixer.pointwise.weight.copy_(torch.eye(12))
    return layer


@sites
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_forward_and_gradients_equal_the_reference(build, site, kernel_size):
    layer, x = build("depthwise", site, kernel_size=kernel_size), inputs(site)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-10)


@sites
def test_a_small_kernel_is_the_core_of_a_large_one(build, site):
    small, large = plain(build("depthwise", site, kernel_size=3)), plain(build("depthwise", site, kernel_size=7))
    with torch.no_grad():
        large.mixer.taps.zero_()
        large.mixer.taps[:, : small.mixer.taps.shape[1]] = small.mixer.taps
    x = inputs(site)
    torch.testing.assert_close(large(x), small(x), rtol=0, atol=1e-12)


@sites
def test_the_first_tap_alone_is_the_identity(build, site):
    layer, x = plain(build("depthwise", site, kernel_size=5)), inputs(site)
    with torch.no_grad():
        layer.mixer.taps.zero_()
        layer.mixer.taps[:, 0] = 1.0
    torch.testing.assert_close(layer(x), x, rtol=0, atol=1e-12)


def test_a_causal_tap_delays_by_its_age(build):
    site = SITES[-1]
    layer, x = plain(build("depthwise", site, kernel_size=5)), inputs(site)
    with torch.no_grad():
        layer.mixer.taps.zero_()
        layer.mixer.taps[:, 2] = 1.0
    torch.testing.assert_close(layer(x), F.pad(x, (0, 0, 2, 0))[:, :63], rtol=0, atol=1e-12)


@sites
def test_pairs_are_the_taps_inside_the_grid(build, site):
    layer = plain(build("depthwise", site, kernel_size=5))
    with torch.no_grad():
        layer.mixer.taps.fill_(1.0)
        inside = layer(torch.ones(1, site.tokens, 12, dtype=torch.float64))[0, :, 0]
    assert Mixer.cost(layer.knobs, site).pairs == pytest.approx(float(inside.sum()))


def test_decoding_keeps_the_latest_inputs_only(build):
    site = SITES[-1]
    layer, x = build("depthwise", site, kernel_size=5), inputs(site)
    y, state = layer.decode(x)
    torch.testing.assert_close(y, layer(x), rtol=0, atol=1e-12)
    assert torch.equal(state, x[:, -4:])
    assert Mixer.cost(layer.knobs, site).kv_cache_bytes == 4 * state[0].numel()


@pytest.mark.parametrize("domain", ["image", "sequence", "causal"])
def test_offsets_of_smaller_kernels_come_first(domain):
    large = offsets(9, domain)
    for size in (1, 3, 5, 7):
        assert offsets(size, domain) == large[: len(offsets(size, domain))]


def test_wrong_knobs_and_sites_are_explained():
    with pytest.raises(ArchError, match="kernel_size must be odd, got 4"):
        Knobs(kernel_size=4)
    with pytest.raises(ArchError, match="needs a grid of 63 tokens, got None"):
        Mixer.check(Knobs(kernel_size=3), Site(embed_dim=12, tokens=63, domain="image"))
