"""What leads from short trainings, or from inherited scores alone, to what networks of a ranking reach alone.

python -m analysis.studies.second_level RUN

After `nas rank` in RUN, with landmarks or without. Each row is a ridge regression on other things, judged on networks
left out: tau with the mean over seeds, by how many per cent it is off in the median, and off the largest architecture.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from nas.job import Job
from nas.ranking.correction import Early, Trained, left_out, metric_of, ridge
from nas.ranking.correlation import Array
from nas.ranking.evidence import EVIDENCE, Direction
from nas.ranking.traits import Traits
from nas.run import Run
from nas.settings import read_settings

Row = tuple[str, list[Array], list[Array]]
"""What it is called, the tables to choose from, and the same of the largest architecture."""


def main(folder: str) -> None:
    bench = Bench.of(Run.at(Path(folder)))
    print(f"{'regression on':<44}{'tau':>6}{'off by':>9}{'largest':>9}")
    for name, tables, largest in bench.rows():
        alone = bench.known.alone(bench.direction)
        found = left_out(tables, alone)
        off = np.median(_off(found, alone, bench.direction))
        line = f"{name:<44}{kendalltau(found, alone)[0]:>6.2f}{off:>8.1f}%"
        if len(tables) == 1:
            told = ridge().fit(tables[0], alone).predict(largest[0])
            line += f"{_off(told, bench.largest.alone(bench.direction), bench.direction)[0]:>8.1f}%"
        print(line, flush=True)


@dataclass(frozen=True)
class Bench:
    """The networks of a ranking, its landmarks, and its largest architecture."""

    traits: Traits
    direction: Direction
    known: Trained
    largest: Trained
    marks: Trained | None

    @classmethod
    def of(cls, run: Run) -> "Bench":
        """As `nas rank` left them."""
        job, found = Job(run, read_settings(run.read_json("run.json")["settings"])), run.read_json(EVIDENCE)
        known, largest = (Trained.read(row for row in found["nets"] if row["is_ranked"] is x) for x in (True, False))
        marks = Trained.read(found["landmarks"]) if found["landmarks"] else None
        return cls(Traits(job.space, job.dataset.shape), found["direction"], known, largest, marks)

    def rows(self) -> Iterator[Row]:
        """From inherited scores, then from what landmarks let expect of a short training."""
        both = (self.known, self.largest)
        scores = [group.inherited(self.direction) for group in both]
        traits = [np.hstack([x, self.traits(group.archs)]) for x, group in zip(scores, both, strict=True)]
        yield "inherited scores", [scores[0]], [scores[1]]
        yield "... and traits", [traits[0]], [traits[1]]
        if self.marks is None:
            return
        alone, sized = ([self._early(group, with_size=x) for group in both] for x in (False, True))
        more = [np.hstack([x, self.traits(group.archs)]) for x, group in zip(alone, both, strict=True)]
        yield "the foretold short training", [alone[0]], [alone[1]]
        yield "... and size", [sized[0]], [sized[1]]
        yield "... and traits", [more[0]], [more[1]]
        for name, tables in (
            ("", [alone, traits]),
            (" with size", [sized, traits]),
            (" either", [alone, sized, traits]),
        ):
            yield f"foretold{name}, or inherited and traits", [x for x, _ in tables], [x for _, x in tables]

    def _early(self, group: Trained, *, with_size: bool) -> Array:
        assert self.marks is not None
        marks = replace(self.marks, are_inherited=not with_size)
        early = Early.fit(self.traits, self.direction, marks, scores=True)
        return early(group.inherited(self.direction), group.archs)


def _off(found: Array, alone: Array, direction: Direction) -> Array:
    told, truth = metric_of(found, direction), metric_of(alone, direction)
    off: Array = 100 * np.abs(told - truth) / truth
    return off


if __name__ == "__main__":
    main(*sys.argv[1:])
