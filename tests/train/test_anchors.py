import itertools

import pytest
import torch

from nas.errors import ConfigError
from nas.train.anchors import importance, place, similarity


def total(gain: torch.Tensor, anchors: list[int]) -> float:
    serving = [max(a for a in anchors if a <= layer) for layer in range(len(gain))]
    return float(sum(gain[anchor, layer] for layer, anchor in enumerate(serving)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_no_other_place_is_better(seed: int, count: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    gain, weights = (
        torch.rand(12, 12, generator=rng, dtype=torch.float64),
        torch.rand(12, generator=rng, dtype=torch.float64),
    )
    found = place(gain, count, weights)
    assert found[0] == 0 and len(found) == count and found == sorted(set(found))
    others = ([0, *rest] for rest in itertools.combinations(range(1, 12), count - 1))
    assert total(gain * weights, found) == pytest.approx(max(total(gain * weights, one) for one in others))


def test_all_layers_may_be_anchors_and_no_fewer_than_one() -> None:
    assert place(torch.eye(4), 4) == [0, 1, 2, 3]
    for count in (0, 5):
        with pytest.raises(ConfigError, match=f"from 1 to the 4 layers, got {count}"):
            place(torch.eye(4), count)


def test_a_layer_serves_itself_best_and_keeping_everything_serves_all() -> None:
    weights = [torch.randn(2, 3, 10, 10).softmax(-1) for _ in range(4)]
    found = similarity(weights, keep=3)
    assert torch.equal(found.argmax(0), torch.arange(4))
    torch.testing.assert_close(similarity(weights, keep=10), torch.ones(4, 4))


def test_attention_that_adds_nothing_is_not_important() -> None:
    x = torch.randn(2, 5, 8)
    found = importance([x, x], [0.5 * x, torch.randn(2, 5, 8)])
    assert found[0].abs() < 1e-6 and found[1] > 0.05
