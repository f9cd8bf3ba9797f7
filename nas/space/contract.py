"""What a search needs of a space, whatever its points are: to draw, vary, describe and read them back."""

import itertools
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas.arch import Knob

ABSENT = -1
"""Column entry of a gene that a point does not express."""


@runtime_checkable
class Point(Hashable, Protocol):
    """One candidate: an `Arch`, or a `Pick` of a plain space."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name the point wherever results are kept."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `Space.read` turns back into the point."""


class Space(ABC):
    """All allowed points. Methods take points of this space only; every point they return is in it."""

    name: str

    @property
    @abstractmethod
    def digest(self) -> str:
        """Sixteen hex digits of the content, whatever the name."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of points, or an upper bound of it where rules between choices exclude some."""

    @property
    @abstractmethod
    def choices(self) -> Mapping[str, tuple[Knob, ...]]:
        """Gene -> its values, numbers ascending; genes are what optimisers vary."""

    @abstractmethod
    def __contains__(self, point: object) -> bool: ...

    @abstractmethod
    def corners(self) -> dict[str, Any]:
        """Origin -> point: `smallest`, `largest`, and whatever else a search should always have seen."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Any:
        """A point drawn at random."""

    @abstractmethod
    def mutate(self, point: Any, rng: random.Random, rate: float = 0.15) -> Any:
        """A different point, each gene changed with probability `rate`."""

    @abstractmethod
    def crossover(self, one: Any, other: Any, rng: random.Random) -> Any:
        """A point with its genes taken from either parent."""

    @abstractmethod
    def genes(self, point: Any) -> dict[str, Knob]:
        """The genes that the point expresses."""

    @abstractmethod
    def point(self, genes: Mapping[str, Knob]) -> Any:
        """The point of these genes; missing ones take a default, illegal combinations the closest legal one."""

    @abstractmethod
    def read(self, data: Mapping[str, Any]) -> Any:
        """The point that `to_dict` wrote; `ArchError` if the data is none. It need not be in this space."""

    @abstractmethod
    def every(self) -> Iterator[Any]:
        """All points, each once; only for a `size` that one is ready to wait for."""

    def neighbours(self, point: Any, rng: random.Random | None = None) -> Iterator[Any]:
        """The points that one changed gene leads to, each once; in random order if `rng` is given.

        Where a rule between genes undoes the change, one more gene takes its first value.
        """
        genes, seen = self.genes(point), {point}
        turns = [(gene, other) for gene, value in genes.items() for other in self.choices[gene] if other != value]
        for gene, value in rng.sample(turns, len(turns)) if rng else turns:
            if (near := self._turned(genes, gene, value)) not in seen:
                seen.add(near)
                yield near

    def _turned(self, genes: Mapping[str, Knob], gene: str, value: Knob) -> Any:
        drafts = [{**genes, gene: value}]
        place = gene.rpartition(".")[0]
        # rules bind genes of one place, such as the heads of a block
        bound = (other for other in genes if other != gene and other.rpartition(".")[0] == place)
        for draft in itertools.chain(drafts, ({**genes, gene: value, b: self.choices[b][0]} for b in bound)):
            if self.genes(near := self.point(draft)).get(gene) == value:
                return near
        return self.point(drafts[0])

    def columns(self, points: Sequence[Any]) -> NDArray[np.int16]:
        """`[N, genes]`: each gene's value as its index among the choices, -1 where the point does not express it."""
        found = np.full((len(points), len(self.choices)), ABSENT, dtype=np.int16)
        for row, point in zip(found, points, strict=True):
            for gene, value in self.genes(point).items():
                row[self._column[gene]] = self._index[gene][value]
        return found

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """`[genes]`: whether a gene's values are numbers, so that near ones are alike."""
        return np.array([not any(isinstance(v, str | bool) for v in values) for values in self.choices.values()])

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Columns of the genes that mean the same at several places: equal names but for digits, and equal values."""
        found: dict[Any, list[int]] = {}
        for column, (gene, values) in enumerate(self.choices.items()):
            found.setdefault((re.sub(r"\d+", "#", gene), values), []).append(column)
        return tuple(map(tuple, found.values()))

    @cached_property
    def _column(self) -> dict[str, int]:
        return {gene: column for column, gene in enumerate(self.choices)}

    @cached_property
    def _index(self) -> dict[str, dict[Knob, int]]:
        return {gene: {value: i for i, value in enumerate(values)} for gene, values in self.choices.items()}
