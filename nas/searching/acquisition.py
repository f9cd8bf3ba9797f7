"""Choosing points by expected hypervolume improvement, one after the other, each knowing those chosen before.

The volume that the front does not dominate yet is held as random points of it. The chance that a candidate dominates
such a point is a product over objectives, so expected improvement is a sum, for any number of objectives, constraints
(feasibility multiplies in) and preferred regions (points are drawn there). Once a candidate is chosen, what it probably
dominates counts for less ("Expected Improvement Matrix" and qEHVI do the same by other means; Daulton et al., 2020).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.pareto import Points, front, least

Array = NDArray[np.float64]
Labels = NDArray[np.intp]
DRAWS, KEPT, ROUNDS = 1 << 13, 1024, 12
"""Random points drawn at a time, how many are kept of those that some candidate may reach, and how often one tries."""
REACH = 2.0
"""Standard deviations by which a candidate may surprise."""
MARGIN = 0.05
LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Mean and deviation `[N, D]` of candidates' objectives, less-is-better, and their chance to be feasible `[N]`.

    A width of 0 says that the value is known.
    """

    mean: Points
    width: Points
    chance: Array

    def __len__(self) -> int:
        return len(self.mean)

    def rows(self, index: NDArray[np.intp]) -> "Beliefs":
        """Some of the candidates."""
        return Beliefs(self.mean[index], self.width[index], self.chance[index])

    @classmethod
    def joined(cls, parts: Sequence["Beliefs"]) -> "Beliefs":
        """The candidates of all parts, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "width", "chance")))

    def hoped(self, reach: float) -> Points:
        """Objectives `[N, D]` if each turns out `reach` deviations better than expected."""
        better: Points = self.mean - reach * self.width
        return better


@dataclass(frozen=True, slots=True)
class Volume:
    """Where improvement counts: the objectives `[K, D]` of the front, and a box `[2, D]`, both less-is-better.

    `warp` takes objectives to the units of the beliefs, in which each keeps its order.
    """

    front: Points
    box: Points
    warp: Callable[[Points], Points]

    @classmethod
    def of(cls, known: Points, region: Points, warp: Callable[[Points], Points]) -> "Volume":
        """From the best to somewhat beyond the worst known, cut to the wanted region where that leaves any."""
        low, high = known.min(axis=0), known.max(axis=0)
        extent = np.where(high > low, high - low, 1.0)
        ends = np.stack([low - MARGIN * extent, high + MARGIN * extent])
        cut = np.stack([np.maximum(ends[0], region[0]), np.minimum(ends[1], region[1])])
        return cls(known[front(known, least(known))], np.where(cut[0] < cut[1], cut, ends), warp)

    def open_points(self, hoped: Points, rng: np.random.Generator) -> Points:
        """Random points of the box that the front does not dominate and that some hoped-for candidate does, warped."""
        best, kept = hoped[front(hoped, least(hoped))], []
        own = self.warp(self.front)
        for _ in range(ROUNDS):
            drawn = self.warp(self.box[0] + np.ptp(self.box, axis=0) * rng.random((DRAWS, self.box.shape[1])))
            drawn = drawn[_covered(drawn, best)]
            kept.append(drawn[~_covered(drawn, own)])
            if sum(map(len, kept)) >= KEPT // 4:
                break
        return np.vstack(kept)[:KEPT]


def reached(hoped: Points, points: Points) -> Labels:
    """How many of the points `[M, D]` each of the hoped-for objectives `[N, D]` dominates: a glance at improvement."""
    columns, counts = np.ascontiguousarray(-hoped.T), np.zeros(len(hoped), dtype=np.intp)
    for point in points:
        counts += _all_at_least(columns, -point)
    return counts


def by_improvement(candidates: Beliefs, points: Points, pending: Beliefs | None = None) -> Iterator[int]:
    """Indices of candidates, the one that adds most volume first; stops when none is expected to add anything.

    `points` are the open ones of a `Volume`, `pending` what was asked and is not known yet.
    """
    if not len(points):
        return
    weight = np.ones(len(points))
    if pending is not None and len(pending):
        weight *= np.prod(1 - _dominates(pending, points), axis=0)
    reached = _dominates(candidates, points)
    left = np.ones(len(reached), dtype=bool)
    while left.any():
        gain = np.where(left, reached @ weight, -1.0)
        best = int(gain.argmax())
        if gain[best] <= LEAST:
            return
        yield best
        left[best] = False
        weight = weight * (1 - reached[best])


def _covered(points: Points, by: Points) -> NDArray[np.bool_]:
    """Which points are dominated by some row of `by`."""
    columns, found = np.ascontiguousarray(points.T), np.zeros(len(points), dtype=bool)
    for row in by:
        found |= _all_at_least(columns, row)
    return found


def _all_at_least(columns: Points, row: Points) -> NDArray[np.bool_]:
    # one comparison a column is several times faster than one of rows
    found: NDArray[np.bool_] = columns[0] >= row[0]
    for column, value in zip(columns[1:], row[1:], strict=True):
        found &= column >= value
    return found


def _dominates(candidates: Beliefs, points: Points) -> Array:
    """Chance `[N, M]` that each candidate is feasible and dominates each point."""
    chance = np.repeat(candidates.chance[:, None], len(points), axis=1)
    for d in range(points.shape[1]):
        apart = points[None, :, d] - candidates.mean[:, d, None]
        width = candidates.width[:, d, None]
        is_known = width <= 0
        chance *= np.where(is_known, apart >= 0, ndtr(apart / np.where(is_known, 1.0, width)))
    return chance
