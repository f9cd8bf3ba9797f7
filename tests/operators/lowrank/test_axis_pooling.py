import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.lowrank.axis_pooling import Knobs

HEADS = {"num_heads": 6, "num_kv_heads": 2, "head_dim": 8}
SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(7, 5))


def inputs():
    return torch.randn(2, 35, 12, dtype=torch.float64)


@pytest.mark.parametrize("lines, grid", [("rows", (35, 1)), ("columns", (1, 35))])
def test_pooling_over_an_axis_of_one_is_full_attention(build, lines, grid):
    site = Site(embed_dim=12, tokens=35, domain="image", grid=grid)
    full, layer = build("softmax", site, **HEADS), build("axis_pooling", site, **HEADS, lines=lines)
    layer.projections.load_state_dict(full.projections.state_dict())
    x = inputs()
    torch.testing.assert_close(layer(x), full(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lines, axis", [("rows", 2), ("columns", 1)])
def test_the_order_inside_a_line_does_not_matter(build, lines, axis):
    layer, x = build("axis_pooling", SITE, **HEADS, lines=lines), inputs()
    grid = x.reshape(2, 7, 5, 12)
    turned = grid.roll(2, axis).flip(axis).reshape(x.shape)
    torch.testing.assert_close(layer(turned), layer(x), rtol=0, atol=1e-12)


def test_tokens_of_a_line_get_one_output(build):
    y = build("axis_pooling", SITE, **HEADS, lines="rows")(inputs()).reshape(2, 7, 5, 12)
    assert torch.equal(y, y[:, :, :1].expand_as(y))


def test_gradients_equal_those_of_the_reference(build):
    layer, x = build("axis_pooling", SITE, **HEADS, lines="columns"), inputs()
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-10)


def test_unknown_lines_are_refused():
    with pytest.raises(ArchError, match="lines must be one of rows, columns; got 'diagonals'"):
        Knobs(**HEADS, lines="diagonals")
