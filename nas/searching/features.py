"""Points as numbers for a model: every gene as one-hot and as a position, genes that recur added up, known costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.searching.problem import Problem
from nas.space.contract import ABSENT

Array = NDArray[np.float64]
Labels = NDArray[np.intp]
REMEMBERED = 200_000
"""Points whose genes are kept as numbers, which is what takes long."""


@dataclass(frozen=True, slots=True)
class Block:
    """Columns `[N, F]` of some points, and for each column the number of the factor that it belongs to."""

    values: Array
    factor: Labels

    def rows(self, index: Any) -> "Block":
        """Some of the points."""
        return Block(self.values[index], self.factor)


@dataclass(frozen=True, slots=True)
class Encoded:
    """`linear` columns add up in the target, `near` columns tell how alike two points are."""

    linear: Block
    near: Block

    def __len__(self) -> int:
        return len(self.linear.values)

    def rows(self, index: Any) -> "Encoded":
        """Some of the points."""
        return Encoded(self.linear.rows(index), self.near.rows(index))


class Features:
    """The encoding of a problem's points; each point is encoded once."""

    def __init__(self, problem: Problem) -> None:
        space = problem.space
        self._problem = problem
        self._sizes = [len(values) for values in space.choices.values()]
        self._ordered = space.ordered & (np.array(self._sizes) > 2)
        self._groups = [group for group in space.groups if len(group) > 1 and self._sizes[group[0]] > 1]
        self._costs = sorted(problem.known)
        self._columns: dict[str, NDArray[np.int16]] = {}

    def __call__(self, points: Sequence[Any]) -> Encoded:
        """The points `[N]` encoded."""
        columns = self._indices(points)
        hot = {g: np.equal.outer(columns[:, g], np.arange(n)) / 2**0.5 for g, n in enumerate(self._sizes) if n > 1}
        near = [self._position(columns[:, g], g) if self._ordered[g] else hot[g] for g in hot]
        sums = [np.sum([hot[g] for g in group], axis=0) / len(group) ** 0.5 for group in self._groups]
        costs = self._known(points)
        return Encoded(_joined([*hot.values(), *sums, *costs]), _joined([*near, *sums, *costs]))

    def _indices(self, points: Sequence[Any]) -> NDArray[np.int16]:
        if len(self._columns) > REMEMBERED:
            self._columns.clear()
        new = [point for point in points if point.digest not in self._columns]
        found = zip(new, self._problem.space.columns(new), strict=True)
        self._columns.update((point.digest, row) for point, row in found)
        return np.array([self._columns[point.digest] for point in points], dtype=np.int16).reshape(-1, len(self._sizes))

    def _position(self, column: NDArray[np.int16], gene: int) -> Array:
        is_there = column != ABSENT
        place = np.where(is_there, column / (self._sizes[gene] - 1) - 0.5, 0.0)
        return np.stack([place, is_there / 2**0.5], axis=1)

    def _known(self, points: Sequence[Any]) -> list[Array]:
        values = self._problem.cheap(points)
        logs = ([np.log1p(max(0.0, row[name])) for row in values] for name in self._costs)
        return [np.array(column).reshape(-1, 1) for column in logs]


def _joined(parts: Sequence[Array]) -> Block:
    factor = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    return Block(np.hstack(parts), factor.astype(np.intp))
