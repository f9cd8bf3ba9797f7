"""The first points of a search: corners, what one starts from, and points spread over choices and over the cost."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nas.searching.problem import Problem
from nas.space import stratified

STRATIFY_BY = ("latency_ms", "flops", "params")
OVERSAMPLE = 16


def first_design(problem: Problem, count: int, rng: random.Random, start: Sequence[Any] = ()) -> list[tuple[str, Any]]:
    """`(origin, point)` pairs within the limits: all corners and starting points, and others up to `count`.

    A space of archs counts its hand-made references (`nas.space.presets`) among the corners.
    """
    found: dict[Any, str] = {}
    for origin, point in [*problem.corners.items(), *(("start", point) for point in start)]:
        if point in problem.space and problem.excess(point) == 0:
            found.setdefault(point, origin)
    spread = itertools.chain.from_iterable(
        zip(balanced(problem, count, rng), _costed(problem, count, rng), strict=False)
    )
    for point in itertools.chain(spread, problem.founders):
        if len(found) >= count:
            break
        found.setdefault(point, "stratified")
    return [(origin, point) for point, origin in found.items()]


def balanced(problem: Problem, count: int, rng: random.Random) -> list[Any]:
    """Up to `count` points that together hold each value of each gene equally often, as far as the limits let them."""
    columns = {gene: _cycled(values, count, rng) for gene, values in problem.space.choices.items()}
    drafts = ({gene: column[i] for gene, column in columns.items()} for i in range(count))
    return list(dict.fromkeys(problem.keep([problem.space.point(draft) for draft in drafts])))


def strata(problem: Problem, count: int, points: Iterable[Any]) -> list[Any]:
    """Up to `count` of the points, spread over the known cost; the first ones where none is known."""
    name = next((name for name in STRATIFY_BY if name in problem.known), None)
    pool = list(points)
    return stratified(pool, count, lambda point: problem.cheap([point])[0][name]) if name and pool else pool[:count]


def _costed(problem: Problem, count: int, rng: random.Random) -> Iterator[Any]:
    drawn = itertools.islice(problem.draws(rng), OVERSAMPLE * count)
    spread = strata(problem, count, drawn)
    rng.shuffle(spread)
    yield from spread


def _cycled(values: Sequence[Any], count: int, rng: random.Random) -> list[Any]:
    turns = -(-count // len(values))
    column = [value for _ in range(turns) for value in rng.sample(list(values), len(values))]
    return rng.sample(column[:count], count)
