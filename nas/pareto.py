"""Dominance, hypervolume, constraints and the knee of a front: a thin layer over moocore with directions by name."""

from collections.abc import Sequence
from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["minimise", "maximise"]
Points = NDArray[np.float64]
Indices = NDArray[np.intp]


def front(points: ArrayLike, directions: Sequence[Direction]) -> Indices:
    """Indices of the non-dominated rows of `points` `[N, D]`, ascending; equal rows count once, the first of them."""
    rows = as_costs(points, directions)
    return np.flatnonzero(moocore.is_nondominated(rows)) if len(rows) else np.empty(0, dtype=np.intp)


def ranks(points: ArrayLike, directions: Sequence[Direction]) -> Indices:
    """Non-dominated rank of each row `[N]`: 0 for the front, 1 for the front without that, and so on."""
    rows = as_costs(points, directions)
    return np.asarray(moocore.pareto_rank(rows), dtype=np.intp) if len(rows) else np.empty(0, dtype=np.intp)


def hypervolume(points: ArrayLike, reference: ArrayLike, directions: Sequence[Direction]) -> float:
    """Volume dominated by `points` `[N, D]` up to `reference` `[D]`; points that are worse than it add nothing."""
    rows, corner = as_costs(points, directions), as_costs(np.atleast_2d(reference), directions)[0]
    return float(moocore.hypervolume(rows, ref=corner)) if len(rows) else 0.0


def feasible(values: ArrayLike, bounds: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.bool_]:
    """Which rows of `values` `[N, D]` are within `bounds` `[D]`: not above where less is better, not below elsewhere.

    An infinite bound constrains nothing if its sign says so: `inf` where less is better, `-inf` elsewhere.
    """
    rows, limits = as_costs(values, directions), as_costs(np.atleast_2d(bounds), directions)[0]
    return np.asarray((rows <= limits).all(axis=1), dtype=np.bool_)


def knee(points: ArrayLike, directions: Sequence[Direction]) -> int:
    """Index of the front's balanced point: least sum of objectives, each scaled to 0..1 over the front.

    With two objectives it is the point farthest below the line between the front's ends.
    """
    rows = as_costs(points, directions)
    kept = front(rows, least(rows))
    if not len(kept):
        raise ValueError("the knee of an empty set of points does not exist: pass at least one point")
    return int(kept[unit(rows[kept]).sum(axis=1).argmin()])


def spread(points: ArrayLike, count: int, directions: Sequence[Direction]) -> Indices:
    """Up to `count` indices of rows that lie far apart, ascending: best of each objective, then the loneliest next."""
    rows = unit(as_costs(points, directions))
    if len(rows) <= count:
        return np.arange(len(rows), dtype=np.intp)
    chosen = list(dict.fromkeys(int(i) for i in rows.argmin(axis=0)))[:count]
    while len(chosen) < count:
        gaps = np.linalg.norm(rows[:, None] - rows[chosen], axis=2).min(axis=1)
        gaps[chosen] = -1.0
        chosen.append(int(gaps.argmax()))
    return np.array(sorted(chosen), dtype=np.intp)


def as_costs(points: ArrayLike, directions: Sequence[Direction]) -> Points:
    """`points` `[N, D]` with less-is-better everywhere; `ValueError` for NaN or a wrong number of columns."""
    rows = np.array(points, dtype=np.float64)
    rows = rows if rows.size else np.empty((0, len(directions)))
    if rows.ndim != 2 or rows.shape[1] != len(directions):
        raise ValueError(f"points need one column per direction, {len(directions)}; got shape {rows.shape}")
    if np.isnan(rows).any():
        raise ValueError("points must not hold NaN, which neither dominates nor is dominated: leave those rows out")
    signs = np.array([1.0 if direction == "minimise" else -1.0 for direction in directions])
    return np.ascontiguousarray(rows * signs)


def least(points: Points) -> list[Direction]:
    """The directions of `points` `[N, D]` whose every column is better the less it is."""
    return ["minimise" for _ in range(points.shape[1])]


def unit(rows: Points) -> Points:
    """`rows` `[N, D]` with each column scaled to 0..1; a constant column becomes 0."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled: Points = (rows - low) / np.where(high > low, high - low, 1.0)
    return scaled
