import pytest
import torch

from nas.errors import ConfigError
from nas.kernels.visibility import Visibility, dense_mask, from_predicate, pairs, prefers_gather, tile_order


@pytest.mark.parametrize("tokens", [1, 17, 63, 100, 257])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_window_counts_keys_including_self(tokens: int, size: int) -> None:
    visibility = from_predicate(tokens, 16, lambda q, k: (k <= q) & (q - k < size))
    expected = sum(min(size, t + 1) for t in range(tokens))
    assert pairs(visibility) == expected
    assert int(dense_mask(visibility).sum()) == expected


def test_static_lists_name_exactly_the_blocks_in_use() -> None:
    visibility = from_predicate(64, 16, lambda q, k: (k <= q) & (q - k < 16))
    assert visibility.lists.tolist() == [[[[0, -1], [0, 1], [1, 2], [2, 3]]]]


def test_lists_alone_show_whole_blocks_up_to_the_end() -> None:
    visibility = Visibility(tokens=10, block_size=4, lists=torch.tensor([[0], [2], [-1]]).view(1, 1, 3, 1))
    mask = dense_mask(visibility)[0, 0]
    assert mask[:4, :4].all()
    assert mask[4:8, 8:].all()
    assert pairs(visibility) == mask.sum() == 4 * 4 + 4 * 2


def test_pairs_is_the_mean_over_heads() -> None:
    lists = torch.tensor([[[0, -1], [1, -1]], [[0, 1], [0, 1]]]).view(1, 2, 2, 2)
    assert pairs(Visibility(tokens=8, block_size=4, lists=lists)) == (32 + 64) / 2


def test_nothing_visible_leaves_empty_lists() -> None:
    visibility = from_predicate(20, 8, lambda q, k: (q < 0) & (k < 0))
    assert (visibility.lists == -1).all()
    assert pairs(visibility) == 0


def test_predicate_sees_original_positions_under_an_order() -> None:
    order = tile_order(6, 6, 3)
    plain = from_predicate(36, 9, lambda q, k: (q // 6 - k // 6).abs() <= 1)
    tiled = from_predicate(36, 9, lambda q, k: (q // 6 - k // 6).abs() <= 1, order=order)
    assert torch.equal(dense_mask(plain), dense_mask(tiled))
    assert pairs(plain) == pairs(tiled)


def test_tile_order_runs_through_tiles() -> None:
    assert tile_order(4, 4, 2).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert tile_order(5, 7, 3).sort().values.tolist() == list(range(35))


def test_tiles_shorten_the_lists_of_a_neighbourhood() -> None:
    def near(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return ((q // 16 - k // 16).abs() <= 1) & ((q % 16 - k % 16).abs() <= 1)

    isolated = lambda q, k: (q // 64 == k // 64) & (q % 16 // 4 == k % 16 // 4)  # noqa: E731
    assert from_predicate(256, 16, isolated, order=tile_order(16, 16, 4)).lists.shape[3] == 1
    assert from_predicate(256, 16, near, order=tile_order(16, 16, 4)).lists.shape[3] == 9


def test_moving_keeps_the_rule() -> None:
    visibility = from_predicate(100, 16, lambda q, k: k <= q).to(torch.device("cpu"))
    assert pairs(visibility) == 100 * 101 / 2


@pytest.mark.parametrize("lists", [torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 3, 1, dtype=torch.int64)])
def test_lists_of_another_shape_or_type_are_refused(lists: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"lists must be int64 \[B or 1, H or 1, 2, key_blocks\]"):
        Visibility(tokens=20, block_size=10, lists=lists)


@pytest.mark.parametrize(("tokens", "block_size", "gathers"), [(128, 16, False), (256, 64, False), (256, 32, True)])
def test_long_sequences_with_short_lists_are_gathered(tokens: int, block_size: int, gathers: bool) -> None:
    visibility = from_predicate(tokens, block_size, lambda q, k: (k <= q) & (q - k < 64))
    assert prefers_gather(visibility) is gathers
    assert (visibility.gathered is None, visibility.full is None) == (not gathers, gathers)
