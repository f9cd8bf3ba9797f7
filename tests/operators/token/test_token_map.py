import pytest
import torch
import torch.nn.functional as F

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.token.token_map import Knobs, Mixer

SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))


@pytest.mark.parametrize("order", ["kept", "shuffled"])
def test_it_is_an_mlp_over_tokens_per_head_and_as_released_a_shuffle_of_heads_and_channels(build, order):
    layer = build("token_map", SITE, num_heads=3, form="mlp4", order=order)
    x, heads = torch.randn(2, 35, 12, dtype=torch.float64), []
    for i in range(3):
        part = (x[..., i::3] if order == "kept" else x[..., 4 * i : 4 * i + 4]).transpose(1, 2)
        inner = F.gelu(part @ layer.mixer.first[i].T + layer.mixer.first_bias[i, :, 0])
        heads.append((inner @ layer.mixer.second[i].T + layer.mixer.second_bias[i, :, 0]).transpose(1, 2))
    torch.testing.assert_close(layer(x), torch.stack(heads, dim=-1).flatten(2), rtol=0, atol=1e-12)


def test_channels_keep_their_places_where_their_order_is_kept(build):
    for order, is_kept in (("kept", True), ("shuffled", False)):
        layer = build("token_map", SITE, num_heads=3, form="matrix", order=order)
        with torch.no_grad():
            layer.mixer.matrix.copy_(torch.eye(35))
        x = torch.randn(2, 35, 12, dtype=torch.float64)
        assert torch.allclose(layer(x), x) is is_kept


def test_tokens_have_places(build):
    layer, x = (
        build("token_map", SITE, num_heads=3, form="matrix", order="kept"),
        torch.randn(1, 35, 12, dtype=torch.float64),
    )
    order = torch.randperm(35)
    assert not torch.allclose(layer(x[:, order]), layer(x)[:, order])


def test_the_parameters_of_the_paper():
    site = Site(embed_dim=64, tokens=49, domain="image", grid=(7, 7))
    assert Mixer.cost(Knobs(num_heads=16, form="mlp4", order="shuffled"), site).params == 311_248


def test_wrong_forms_and_heads_are_refused():
    with pytest.raises(ArchError, match="form must be one of matrix, mlp2, mlp4; got 'mlp3'"):
        Knobs(num_heads=2, form="mlp3", order="kept")
    with pytest.raises(ArchError, match="order must be one of kept, shuffled; got 'free'"):
        Knobs(num_heads=2, form="matrix", order="free")
    with pytest.raises(ArchError, match="num_heads must divide the 12 channels, got 5"):
        Mixer.check(Knobs(num_heads=5, form="matrix", order="kept"), SITE)
