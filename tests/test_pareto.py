import numpy as np
import pytest

from nas import pareto

MIN2 = ("minimise", "minimise")


def test_front_keeps_what_nothing_beats_and_equal_points_once() -> None:
    points = [[1, 4], [2, 2], [4, 1], [3, 3], [2, 2], [1, 5]]
    assert pareto.front(points, MIN2).tolist() == [0, 1, 2]


def test_front_follows_directions() -> None:
    points = [[0.9, 5.0], [0.8, 2.0], [0.7, 3.0], [0.95, 9.0]]
    assert pareto.front(points, ("maximise", "minimise")).tolist() == [0, 1, 3]


def test_ranks_peel_fronts() -> None:
    assert pareto.ranks([[1, 1], [2, 2], [3, 3], [1, 3]], MIN2).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("points", "reference", "directions", "expected"),
    [
        ([], [1, 1], MIN2, 0.0),
        ([[1, 2]], [3, 5], MIN2, 6.0),
        ([[1, 2], [2, 1]], [3, 3], MIN2, 3.0),
        ([[1, 2], [2, 1], [2, 1], [2.5, 2.5]], [3, 3], MIN2, 3.0),
        ([[4, 4]], [3, 3], MIN2, 0.0),
        ([[0.5, 1.0]], [0.0, 3.0], ("maximise", "minimise"), 1.0),
        ([[0, 0, 0]], [2, 3, 4], (*MIN2, "minimise"), 24.0),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [2, 2, 2], (*MIN2, "minimise"), 4.0),
    ],
)
def test_hypervolume_of_known_boxes(points, reference, directions, expected) -> None:  # type: ignore[no-untyped-def]
    assert pareto.hypervolume(points, reference, directions) == pytest.approx(expected)


def test_hypervolume_never_falls_when_a_point_is_added() -> None:
    points = np.random.default_rng(0).random((60, 3))
    volumes = [pareto.hypervolume(points[:n], [1, 1, 1], (*MIN2, "maximise")) for n in range(61)]
    assert all(before <= after + 1e-12 for before, after in zip(volumes, volumes[1:], strict=False))


def test_hypervolume_is_that_of_the_front() -> None:
    points = np.random.default_rng(1).random((50, 3))
    directions = ("minimise", "maximise", "minimise")
    kept = points[pareto.front(points, directions)]
    assert pareto.hypervolume(points, [1, 0, 1], directions) == pytest.approx(
        pareto.hypervolume(kept, [1, 0, 1], directions)
    )


def test_feasible_is_upper_for_minimised_and_lower_for_maximised() -> None:
    values = [[5.0, 0.9], [5.1, 0.9], [5.0, 0.8]]
    assert pareto.feasible(values, [5.0, 0.9], ("minimise", "maximise")).tolist() == [True, False, False]
    assert pareto.feasible(values, [np.inf, -np.inf], ("minimise", "maximise")).all()


def test_knee_is_farthest_below_the_line_between_the_ends() -> None:
    assert pareto.knee([[0, 10], [1, 3], [4, 2], [10, 0]], MIN2) == 1
    assert pareto.knee([[0, -10], [1, -3], [4, -2], [10, 0]], ("minimise", "maximise")) == 1


def test_spread_keeps_the_ends_and_the_loneliest() -> None:
    points = [[0, 10], [0.1, 9.9], [5, 5], [5.1, 4.9], [10, 0]]
    assert pareto.spread(points, 3, MIN2).tolist() == [0, 2, 4]
    assert pareto.spread(points, 9, MIN2).tolist() == [0, 1, 2, 3, 4]


def test_nan_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must not hold NaN"):
        pareto.front([[1.0, float("nan")]], MIN2)
    with pytest.raises(ValueError, match="one column per direction, 2; got shape"):
        pareto.hypervolume([[1.0, 2.0, 3.0]], [1, 1], MIN2)
    with pytest.raises(ValueError, match="empty set"):
        pareto.knee([], MIN2)
