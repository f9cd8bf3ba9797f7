"""A space of listed points only: the table of results that somebody has."""

import hashlib
import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Knob
from nas.errors import ArchError
from nas.space.contract import Space


class ListedSpace(Space):
    """Some points of another space; what is not listed gives way to the listed point with the most genes in common."""

    def __init__(self, space: Space, points: Sequence[Any], name: str = "listed") -> None:
        self._inner, self.name = space, name
        self._points = list(dict.fromkeys(points))
        if not self._points:
            raise ArchError("a list of points needs at least one; got none")
        if wrong := next((point for point in self._points if point not in space), None):
            raise ArchError(f"the list holds {wrong}, which is not in space {space.name!r}: take it out of the list")
        self._place = {point: i for i, point in enumerate(self._points)}

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the points."""
        return hashlib.sha256("".join(sorted(p.digest for p in self._points)).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self._points)

    @cached_property
    def choices(self) -> Mapping[str, tuple[Knob, ...]]:
        """The values that occur among the points."""
        every = self._inner.choices.items()
        return {
            gene: tuple(value for i, value in enumerate(values) if (self._table[:, column] == i).any()) or values[:1]
            for column, (gene, values) in enumerate(every)
        }

    def __contains__(self, point: object) -> bool:
        return isinstance(point, Hashable) and point in self._place

    def corners(self) -> dict[str, Any]:
        """The listed points closest to the other space's corners."""
        return {name: self._nearest(point) for name, point in self._inner.corners().items()}

    def sample(self, rng: random.Random) -> Any:
        """Any of them."""
        return rng.choice(self._points)

    def mutate(self, point: Any, rng: random.Random, rate: float = 0.15) -> Any:
        """The listed point closest to a mutant, other than the point itself."""
        return self._nearest(self._inner.mutate(point, rng, rate), but=point)

    def crossover(self, one: Any, other: Any, rng: random.Random) -> Any:
        """The listed point closest to a child."""
        return self._nearest(self._inner.crossover(one, other, rng))

    def neighbours(self, point: Any, rng: random.Random | None = None) -> Iterator[Any]:
        """The closest of the other points, as many as one changed gene leads to where all points exist."""
        count = sum(len(values) - 1 for values in self.choices.values())
        distance = (self._table != self._inner.columns([point])).sum(axis=1)
        closest = distance.argsort(kind="stable")[: count + 1].tolist()
        near = [self._points[i] for i in closest if self._points[i] != point][:count]
        yield from rng.sample(near, len(near)) if rng else near

    def genes(self, point: Any) -> dict[str, Knob]:
        """Those of the other space."""
        return self._inner.genes(point)

    def point(self, genes: Mapping[str, Knob]) -> Any:
        """The listed point closest to that of the genes."""
        return self._nearest(self._inner.point(genes))

    def read(self, data: Mapping[str, Any]) -> Any:
        """As the other space reads it."""
        return self._inner.read(data)

    def every(self) -> Iterator[Any]:
        """All of them, in the order listed."""
        return iter(self._points)

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        return self._inner.columns(self._points)

    def _nearest(self, point: Any, but: Any = None) -> Any:
        if point in self._place and point != but:
            return point
        distance = (self._table != self._inner.columns([point])).sum(axis=1)
        if but is not None and len(self._points) > 1:
            distance[self._place[but]] = self._table.shape[1] + 1
        return self._points[int(distance.argmin())]
