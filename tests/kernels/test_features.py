import math

import pytest
import torch

from nas.errors import ConfigError
from nas.kernels.features import Hedgehog, elu_plus_one, feature_dim, relu, taylor2


def draw(heads: int = 3, width: int = 8) -> torch.Tensor:
    return torch.randn(2, heads, 17, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", ["elu_plus_one", "relu", "taylor2", "hedgehog"])
@pytest.mark.parametrize("width", [8, 24])
def test_feature_dim_is_the_width_of_the_output(name: str, width: int) -> None:
    maps = {"elu_plus_one": elu_plus_one, "relu": relu, "taylor2": taylor2, "hedgehog": Hedgehog(3, width).double()}
    assert maps[name](draw(width=width)).shape[-1] == feature_dim(name, width)


def test_taylor_width_at_rank_16() -> None:
    assert feature_dim("taylor2", 16) == 273


def test_taylor_product_is_the_second_order_series() -> None:
    q, k = draw(), draw().flip(2)
    s = (q * k).sum(-1) / math.sqrt(8)
    product = (taylor2(q) * taylor2(k)).sum(-1)
    torch.testing.assert_close(product, 1 + s + s**2 / 2, rtol=1e-12, atol=1e-12)
    assert (product >= 0.5).all()


@pytest.mark.parametrize("feature_map", [elu_plus_one, relu])
def test_simple_maps_are_positive(feature_map: type) -> None:
    assert (feature_map(draw()) > 0).all()


def test_hedgehog_rows_are_positive_and_sum_to_two() -> None:
    features = Hedgehog(3, 8).double()(draw())
    assert (features > 0).all()
    torch.testing.assert_close(features.sum(-1), torch.full((2, 3, 17), 2.0, dtype=torch.float64))


def test_hedgehog_starts_as_the_identity_projection() -> None:
    x = draw()
    torch.testing.assert_close(Hedgehog(3, 8).double()(x), torch.cat([x.softmax(-1), (-x).softmax(-1)], dim=-1))


def test_hedgehog_slices_the_leading_corner() -> None:
    large, small = Hedgehog(4, 24).double(), Hedgehog(3, 8).double()
    with torch.no_grad():
        large.weight.normal_(generator=torch.Generator().manual_seed(1))
        small.weight.copy_(large.weight[:3, :8, :8])
    torch.testing.assert_close(large(draw()), small(draw()))


def test_unknown_feature_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="feature_map must be one of"):
        feature_dim("cosine", 8)
