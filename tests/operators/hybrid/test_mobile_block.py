"""The mobile block's windows and what happens in the wide part."""

import torch

from nas.kernels import attention
from nas.operators.contract import Site
from nas.operators.hybrid.mobile_block import Knobs, Mixer

KNOBS = {"num_heads": 3, "head_dim": 4, "expansion": 2, "kernel_size": 3}
SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))
X = torch.randn(2, 35, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_window_as_large_as_the_image_is_global(build):
    layer = build("mobile_block", SITE, window_size=7, **KNOBS)
    with torch.no_grad():
        layer.mixer.taps.zero_()
    q, k, v = layer.mixer._qkv(X, layer.projections, layer.knobs)
    assert torch.equal(v[:, 1], X[..., 1::3])
    mixed = torch.stack(attention.reference(q, k, v).unbind(1), dim=-1).flatten(2)
    wide = torch.nn.functional.gelu(mixed @ layer.mixer.widen.weight.T + layer.mixer.widen.bias)
    torch.testing.assert_close(layer(X), wide @ layer.mixer.narrow.weight.T, rtol=0, atol=1e-12)


def test_windows_are_every_other_row_and_column(build):
    layer = build("mobile_block", SITE, window_size=4, **KNOBS)  # steps of 2 in both axes
    with torch.no_grad():
        layer.mixer.taps.zero_()
    changed = X.clone()
    changed[:, 0] += 1  # row 0, column 0
    moved = (layer(X) - layer(changed)).abs().amax((0, 2)).view(5, 7) > 1e-12
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[::2, ::2] = True
    assert torch.equal(moved, expected)


def test_pairs_are_those_inside_windows():
    site = Site(embed_dim=12, tokens=64, domain="image", grid=(8, 8))
    shares = [Mixer.sparsity(Knobs(window_size=window, **KNOBS), site) for window in (8, 4, 2)]
    assert shares == [0.0, 0.75, 0.9375]
