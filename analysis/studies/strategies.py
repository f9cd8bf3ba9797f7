"""Search strategies side by side on recorded evaluations and on made-up spaces, both with known fronts.

python -m analysis.studies.strategies [problems] [strategies] [seeds] [evaluations]

problems: comma-separated of `layered2`, `layered3`, `rugged`, or files that `analysis.studies.table` wrote (with
`+costs` behind it: costs known beforehand, as in `nas search`). strategies: ours by name, others as in `peers.py`;
`all` for all. The hypervolume is a share of the whole front's, in the box from the best to 5 % beyond the worst value
of all points.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.studies.landscapes import layered, rugged
from analysis.studies.peers import PEERS
from analysis.studies.table import Table
from nas.pareto import Points, front, hypervolume, least
from nas.searching import strategies

PROBLEMS: dict[str, Callable[[], Table]] = {
    "layered2": lambda: layered(0, objectives=2),
    "layered3": lambda: layered(0),
    "rugged": lambda: rugged(0),
}
MARKS, GOAL = (50, 100, 200, 500), 0.97


@dataclass(frozen=True)
class Search:
    """One strategy's search: share of the hypervolume after each evaluation, repeats, CPU milliseconds per proposal."""

    curve: list[float]
    repeats: float
    ms: float

    @property
    def reach(self) -> int:
        """Evaluations to the goal; one more than there were if it was not reached."""
        return next((n for n, share in enumerate(self.curve, 1) if share >= GOAL), len(self.curve) + 1)


def main(problems: str = "", wanted: str = "surrogate,random", seeds: int = 5, evaluations: int = 500) -> None:
    for name in problems.split(",") if problems else PROBLEMS:
        table = PROBLEMS[name]() if name in PROBLEMS else recorded(name)
        print(f"{name}: {len(table.values)} points, {seeds} seeds; mean ± standard deviation")
        marks = [mark for mark in MARKS if mark <= evaluations]
        head = "".join(f"{f'at {mark}':>16}" for mark in marks)
        print(f"{'':<22}{head}{f'to {GOAL}':>16}{'repeats':>9}{'ms':>7}")
        for strategy in [*strategies.names(), *PEERS] if wanted == "all" else wanted.split(","):
            try:
                found = [run(table, strategy, seed, evaluations) for seed in range(seeds)]
            except ImportError as error:
                print(f"{strategy:<22}not installed: {error}")
                continue
            print(f"{strategy:<22}{row(found, marks)}", flush=True)


def recorded(name: str) -> Table:
    path, _, rest = name.partition("+")
    return Table.read(path, costs_known=rest == "costs")


def row(found: list[Search], marks: list[int]) -> str:
    cells = ""
    for mark in marks:
        shares = [search.curve[min(mark, len(search.curve)) - 1] for search in found]
        cells += f"{statistics.mean(shares):>9.4f} ±{statistics.pstdev(shares):.4f}"
    reach = [search.reach for search in found]
    cells += f"{statistics.mean(reach):>8.0f} ±{statistics.pstdev(reach):<5.0f}"
    repeats, ms = (statistics.mean(values) for values in zip(*((s.repeats, s.ms) for s in found), strict=True))
    return f"{cells}{repeats:>9.1%}{ms:>7.1f}"


def run(table: Table, strategy: str, seed: int, evaluations: int) -> Search:
    stream = _peer(table, strategy, seed) if strategy in PEERS else _ours(table, strategy, seed)
    points, start = [], time.thread_time()
    for _, point in zip(range(evaluations), stream, strict=False):
        points.append(point)
    ms = (time.thread_time() - start) * 1e3 / len(points)
    return Search(shares(table, points), 1 - len(set(points)) / len(points), ms)


def _ours(table: Table, name: str, seed: int) -> Iterator[Any]:
    strategy = strategies.get(name)(table.problem, seed=seed)
    while asked := strategy.ask(1):
        strategy.tell(asked[0], table.values[asked[0]])
        yield asked[0]


def _peer(table: Table, name: str, seed: int) -> Iterator[Any]:
    asking = PEERS[name](table.problem, seed)
    genes = next(asking)
    while True:
        point = table.problem.space.point(genes)
        genes = asking.send(table.problem.points([table.values[point]])[0])  # type: ignore[attr-defined]
        yield point


def shares(table: Table, points: list[Any]) -> list[float]:
    every = table.problem.points(list(table.values.values()))
    low, high = every.min(axis=0), every.max(axis=0)

    def volume(rows: Points) -> float:
        scaled = (rows - low) / (high - low)
        return hypervolume(scaled, np.full(scaled.shape[1], 1.05), least(scaled))

    whole = volume(every[front(every, least(every))])
    found = table.problem.points([table.values[point] for point in points])
    return [volume(found[:n]) / whole for n in range(1, len(found) + 1)]


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:5]))
