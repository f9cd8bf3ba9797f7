"""Spaces that have nothing to do with attention: named choices, or a list of points that somebody has."""

import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from nas.arch import Knob
from nas.errors import ArchError
from nas.space.contract import Space

TRIES = 10_000
"""Draws after which a rule that none of them meets is taken for one that nothing meets."""


@dataclass(frozen=True, eq=False)
class Pick(Mapping[str, Knob]):
    """One value for each name, as a mapping that is also hashable."""

    pairs: tuple[tuple[str, Knob], ...]

    def __getitem__(self, name: str) -> Knob:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self.pairs)

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __eq__(self, other: object) -> bool:
        return self.pairs == other.pairs if isinstance(other, Pick) else self._values == other

    def __repr__(self) -> str:
        return f"Pick({self._values})"

    @cached_property
    def _values(self) -> dict[str, Knob]:
        return dict(self.pairs)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the values."""
        return _digest(self._values)

    def to_dict(self) -> dict[str, Any]:
        """The values by name."""
        return dict(self._values)


Where = Callable[[Mapping[str, Knob]], bool]


class ChoiceSpace(Space):
    """All combinations of named choices, or those of them that the rule `where` allows."""

    def __init__(
        self, choices: Mapping[str, Sequence[Knob]], where: Where | None = None, name: str = "choices"
    ) -> None:
        self.name, self._where = name, where
        self._choices = {str(gene): _checked(gene, values) for gene, values in choices.items()}
        if not self._choices:
            raise ArchError("a space needs at least one name with choices, such as {'width': [64, 128]}; got none")

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the choices."""
        return _digest(list(self._choices.items()))

    @property
    def size(self) -> int:
        """Number of combinations, before `where`."""
        return prod(len(values) for values in self._choices.values())

    @property
    def choices(self) -> Mapping[str, tuple[Knob, ...]]:
        """The choices, numbers ascending."""
        return self._choices

    def __contains__(self, point: object) -> bool:
        if not isinstance(point, Mapping) or set(point) != set(self._choices):
            return False
        return all(point[gene] in values for gene, values in self._choices.items()) and self._is_legal(point)

    def corners(self) -> dict[str, Pick]:
        """The first value of everything, and the last: the smallest and the largest where values are numbers."""
        ends = {"smallest": 0, "largest": -1}
        drafts = {name: {gene: values[end] for gene, values in self._choices.items()} for name, end in ends.items()}
        return {name: self._pick(draft) for name, draft in drafts.items() if self._is_legal(draft)}

    def sample(self, rng: random.Random) -> Pick:
        """Every value equally likely; `ArchError` if `where` seems to allow nothing."""
        for _ in range(TRIES):
            draft = {gene: rng.choice(values) for gene, values in self._choices.items()}
            if self._is_legal(draft):
                return self._pick(draft)
        raise ArchError(f"none of {TRIES} combinations of space {self.name!r} is allowed by its rule: loosen `where`")

    def mutate(self, point: Mapping[str, Knob], rng: random.Random, rate: float = 0.15) -> Pick:
        """At least one gene is another."""
        able = [gene for gene, values in self._choices.items() if len(values) > 1]
        for _ in range(TRIES if able else 0):
            turned = [gene for gene in able if rng.random() < rate] or [rng.choice(able)]
            new = {g: rng.choice([v for v in self._choices[g] if v != point[g]]) for g in turned}
            if self._is_legal(draft := {**point, **new}):
                return self._pick(draft)
        return self.sample(rng)

    def crossover(self, one: Mapping[str, Knob], other: Mapping[str, Knob], rng: random.Random) -> Pick:
        """Each gene from either parent; one of the parents where no mix is allowed."""
        for _ in range(16):
            draft = {gene: rng.choice((one[gene], other[gene])) for gene in self._choices}
            if self._is_legal(draft):
                return self._pick(draft)
        return self._pick(one)

    def genes(self, point: Mapping[str, Knob]) -> dict[str, Knob]:
        """All of them."""
        return dict(point)

    def point(self, genes: Mapping[str, Knob]) -> Pick:
        """Missing genes take their first value; what `where` forbids, gives way to a legal variation."""
        draft = self._pick({gene: genes.get(gene, values[0]) for gene, values in self._choices.items()})
        return draft if self._is_legal(draft) else self.mutate(draft, random.Random(draft.digest))

    def read(self, data: Mapping[str, Any]) -> Pick:
        """The pick of these values."""
        # a file may hold the names in another order, and equal picks must be equal
        others = (name for name in data if name not in self._choices)
        return Pick(tuple((name, data[name]) for name in (*(n for n in self._choices if n in data), *others)))

    def every(self) -> Iterator[Pick]:
        """The product of all choices, less what `where` forbids."""
        for values in itertools.product(*self._choices.values()):
            if self._is_legal(draft := dict(zip(self._choices, values, strict=True))):
                yield self._pick(draft)

    def _is_legal(self, draft: Mapping[str, Knob]) -> bool:
        return self._where is None or bool(self._where(draft))

    def _pick(self, draft: Mapping[str, Knob]) -> Pick:
        return Pick(tuple((gene, draft[gene]) for gene in self._choices))


def _checked(gene: str, values: Sequence[Knob]) -> tuple[Knob, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ArchError(f"{gene!r} needs a list of choices, such as [64, 128]; got {values!r}")
    if wrong := [value for value in values if not isinstance(value, str | int | float | bool)]:
        raise ArchError(f"choices are numbers, texts or booleans; {gene!r} has {wrong[0]!r}")
    unique = tuple(dict.fromkeys(values))
    if any(isinstance(value, str | bool) for value in unique):
        return unique
    return tuple(sorted(unique))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
