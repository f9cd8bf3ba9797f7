"""Made-up spaces small enough to know their whole front: what a strategy is judged on beside recorded evaluations."""

import hashlib
from typing import Any

import numpy as np

from analysis.studies.table import Table
from nas.pareto import Direction
from nas.searching import Problem
from nas.searching.objectives import Objective, Values
from nas.space import as_space

DIRECTIONS: dict[str, Direction] = {"accuracy": "maximise", "ms": "minimise", "params": "minimise"}


def chance(*parts: object) -> float:
    """A number in 0..1 that the parts decide."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def layered(seed: int, objectives: int = 3, blocks: int = 6, kinds: int = 4) -> Table:
    """Layers of different kinds, width and depth: accuracy saturates in sums and in pairs of neighbours."""
    names = "abcdefgh"[:kinds]
    choices: dict[str, Any] = {f"kind_{i}": list(names) for i in range(blocks)}
    space = as_space({**choices, "width": [32, 48, 64, 96], "depth": [2, 3, 4, 5]})
    cost = {name: chance(seed, "cost", name) for name in names}

    def values(point: Any) -> Values:
        chain = [point[f"kind_{i}"] for i in range(min(blocks, point["depth"] + 1))]
        width = point["width"] / 32
        worth = width + sum(0.5 + chance(seed, i, kind) for i, kind in enumerate(chain))
        pairs = enumerate(zip(chain, chain[1:], strict=False))
        worth += 0.8 * sum(chance(seed, "pair", i, pair) for i, pair in pairs)
        ms = sum((0.2 + cost[kind]) * width ** (1 + 0.5 * cost[kind]) for kind in chain)
        ms *= 1 + 0.1 * chance(seed, "ends", chain[0], chain[-1])
        noise = 0.004 * chance(seed, "noise", point.digest)
        params = sum((0.3 + cost[kind] ** 2) * width**2 for kind in chain)
        return {"accuracy": float(1 - np.exp(-worth / 6)) + noise, "ms": ms, "params": params}

    return _table(space, values, objectives)


def rugged(seed: int, genes: int = 9, linked: int = 2) -> Table:
    """Kauffman's NK landscapes ("The Origins of Order", 1993), one per objective: each gene's worth hangs on others."""
    space = as_space({f"gene_{'abcdefghijkl'[i]}": ["x", "y", "z"] for i in range(genes)})
    names = list(space.choices)

    def worth(point: Any, name: str) -> float:
        around = ([point[names[(i + j) % genes]] for j in range(linked + 1)] for i in range(genes))
        return sum(chance(seed, name, i, *seen) for i, seen in enumerate(around)) / genes

    return _table(space, lambda point: {name: worth(point, name) for name in ("accuracy", "ms")}, 2)


def _table(space: Any, values: Any, count: int) -> Table:
    objectives = tuple(Objective(name, direction) for name, direction in list(DIRECTIONS.items())[:count])
    return Table(Problem(space, objectives), {point: values(point) for point in space.every()})
