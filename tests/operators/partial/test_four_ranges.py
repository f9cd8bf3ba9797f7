"""What each quarter of the channels sees."""

import torch

from nas.operators.contract import Site

SITE = Site(embed_dim=16, tokens=81, domain="image", grid=(9, 9))
X = torch.randn(2, 81, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def seen(layer, quarter, token=40):
    """Tokens whose change moves the quarter's first channel at a token."""
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[0, token, quarter], x)
    return (gradient[0].abs().amax(-1) > 1e-14).view(9, 9)


def test_ranges_grow_from_quarter_to_quarter(build):
    layer = build("four_ranges", SITE, num_heads=2, pooled=1, kernel_size=3)
    point, near, medium, wide = (seen(layer, quarter) for quarter in range(4))
    assert point.sum() == 1 and point[4, 4]
    assert near.sum() == 9 and near[3:6, 3:6].all()
    assert medium[4, 4] and medium.sum() <= 10  # itself, and a maximum from each of nine pools of 3 x 3
    assert {(r // 3, c // 3) for r, c in medium.nonzero().tolist()} == {(i, j) for i in range(3) for j in range(3)}
    assert wide.all()


def test_a_pooled_grid_gives_back_one_value_per_cell(build):
    layer = build("four_ranges", SITE, num_heads=2, pooled=2, kernel_size=3)
    four = layer.mixer._quarters(X, SITE)[3]
    added = layer.mixer._wide(four, layer.knobs) - four.flatten(2).transpose(1, 2)
    cells = torch.nn.functional.pad(added.transpose(1, 2).view(2, 4, 9, 9), (0, 1, 0, 1))
    counts = (cells != 0).view(2, 4, 5, 2, 5, 2).sum((3, 5))
    assert torch.equal(counts, torch.ones_like(counts))


def test_strips_are_one_kernel(build):
    layer = build("four_ranges", SITE, num_heads=2, pooled=1, kernel_size=5)
    with torch.no_grad():
        layer.mixer.strips.fill_(1.0)
    expected = torch.zeros(7, 7)
    for along in range(-2, 3):
        for across in (-1, 0, 1):
            places = ((along, across), (across, along), (along, along + across), (along, across - along))
            for row, column in places:
                expected[3 + row, 3 + column] += 1
    assert torch.equal(layer.mixer._kernel(4, layer.knobs)[2].float(), expected)
