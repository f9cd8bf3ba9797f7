import pytest
import torch

from nas.operators.contract import Site
from nas.operators.softmax.low_resolution import Knobs, Mixer

SITE = Site(embed_dim=12, tokens=35, domain="image", grid=(5, 7))
HEADS = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 6}


def test_at_full_resolution_with_kernels_of_one_tap_it_is_softmax_attention(build):
    layer, plain = build("low_resolution", SITE, **HEADS, stride=1), build("softmax", SITE, **HEADS)
    x = torch.randn(2, 35, 12, dtype=torch.float64)
    with torch.no_grad():
        layer.mixer.down["1"].zero_()[..., 1, 1] = 1
        layer.mixer.up["1"].zero_()[..., 1, 1] = plain.projections.o.weight.permute(1, 2, 0)
        for part in "qkv":
            getattr(layer.projections, part).weight.copy_(getattr(plain.projections, part).weight)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("grid", [(5, 7), (1, 3), (8, 8)])
def test_any_grid_comes_back_whole(build, stride, grid):
    site = Site(embed_dim=12, tokens=grid[0] * grid[1], domain="image", grid=grid)
    layer = build("low_resolution", site, **HEADS, stride=stride)
    x = torch.randn(1, site.tokens, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)


def test_a_stride_divides_the_attention_by_its_fourth_power():
    site = Site(embed_dim=64, tokens=1024, domain="image", grid=(32, 32))
    costs = [Mixer.cost(Knobs(num_heads=2, num_kv_heads=2, head_dim=16, stride=s), site) for s in (1, 2)]
    assert costs[1].kv_cache_bytes * 4 == costs[0].kv_cache_bytes
    assert costs[1].flops < 0.2 * costs[0].flops
