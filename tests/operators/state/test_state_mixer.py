import pytest
import torch

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.operators.state.state_mixer import Knobs, Mixer


def site(grid=(9, 7), embed_dim=12):
    return Site(embed_dim=embed_dim, tokens=grid[0] * grid[1], domain="image", grid=grid)


def inputs(tokens=63):
    return torch.randn(2, tokens, 12, dtype=torch.float64)


@pytest.mark.parametrize("grid", [(9, 7), (1, 17), (10, 10)])
def test_forward_and_gradients_equal_the_reference(build, grid):
    layer = build("state_mixer", site(grid), num_states=5)
    x = inputs(grid[0] * grid[1])
    torch.testing.assert_close(layer(x), layer.reference(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.gradients(x), layer.gradients(x, by_reference=True), rtol=0, atol=1e-9)


@pytest.mark.parametrize("states", [1, 5, 9])
def test_the_output_has_the_rank_of_the_states(build, states):
    layer = build("state_mixer", site(), num_states=states)
    assert torch.linalg.matrix_rank(layer(inputs())[0]) == states == Mixer.rank(layer.knobs, site())


def without_neighbours(layer):
    with torch.no_grad():
        layer.mixer.local.zero_()
        layer.mixer.local[..., 1, 1] = 1.0
    return layer


def test_without_the_convolution_permuted_tokens_permute_the_outputs(build):
    layer, x, order = without_neighbours(build("state_mixer", site(), num_states=5)), inputs(), torch.randperm(63)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=0, atol=1e-12)


def test_the_shares_of_the_tokens_in_a_state_sum_to_one(build):
    layer = without_neighbours(build("state_mixer", site(), num_states=5))
    with torch.no_grad():
        # only the first channel reaches the weights, and it is one
        layer.mixer.into.weight[0] = 0.0
        layer.mixer.into.weight[0, :, 0] = 1.0
    x = inputs()
    x[..., 0] = 1.0
    pool, _ = layer.mixer._coefficients(x, layer.knobs, site())
    torch.testing.assert_close(pool.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert (pool > 0).all()


def test_a_grid_is_needed_and_states_do_not_outnumber_the_tokens():
    with pytest.raises(ArchError, match="needs a grid of 63 tokens, got None"):
        Mixer.check(Knobs(num_states=5), Site(embed_dim=12, tokens=63, domain="image"))
    with pytest.raises(ArchError, match="num_states must be at most the 63 tokens, got 64"):
        Mixer.check(Knobs(num_states=64), site())
