"""How well networks trained alone, so many for the whole time and so many for a short one, correct inherited scores.

python -m analysis.studies.landmarks RUN SEED OTHER

After `nas rank rank.landmarks=N rank.seed=SEED` and `nas rank rank.seed=OTHER` in RUN: two choices of archs. A
correction is fitted on drawn parts of one choice and of the landmarks and judged on the whole other choice, in turn;
tau is that with the mean over seeds alone, mean and standard deviation over draws.
"""

import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from nas.job import Job
from nas.ranking.correction import Correction, Trained
from nas.ranking.evidence import Net
from nas.ranking.traits import Traits
from nas.run import Run
from nas.settings import read_settings
from nas.tasks import LOSS
from nas.trials.ranked import Ranked
from nas.trials.results import Results

DRAWS = 12
WHOLE, LANDMARKS = (8, 16, 36), (0, 32, 64, 128)


def main(folder: str, *seeds: str) -> None:
    run = Run.at(Path(folder))
    settings = read_settings(run.read_json("run.json")["settings"])
    studies = [Ranked(Job(run, replace(settings, rank=replace(settings.rank, seed=int(seed))))) for seed in seeds]
    bench = Bench.of(studies)
    print(f"{' and '.join(str(len(one.nets)) for one in bench.choices)} networks, {len(bench.marks.nets)} landmarks")
    for seed, choice in zip(seeds, bench.choices, strict=True):
        print(f"rank.seed={seed}: inherited scores {_tau([net.inherited for net in choice.nets], choice):.2f}")
    print(f"{'landmarks':>9}{'whole':>7}{'no supernet':>16}{'corrected':>16}{'off by':>9}")
    for short in sorted({min(count, len(bench.marks.nets)) for count in LANDMARKS}):
        for whole in WHOLE:
            plain, corrected, off = zip(*(bench.judged(short, whole, draw) for draw in range(DRAWS)), strict=True)
            spreads = "".join(f"{statistics.fmean(x):>9.2f} ± {statistics.stdev(x):.2f}" for x in (plain, corrected))
            print(f"{short:>9}{whole:>7}{spreads}{statistics.fmean(off):>8.2f}%", flush=True)


@dataclass(frozen=True)
class Bench:
    """Two choices of networks, and landmarks."""

    traits: Traits
    study: Ranked
    choices: tuple[Trained, Trained]
    marks: Trained

    @classmethod
    def of(cls, studies: list[Ranked]) -> "Bench":
        """Of two studies, with the landmarks of the first."""
        first, other = studies
        marks = Results(first, {}).landmarks()
        seen = {net.digest for net in marks.nets}
        choices = (_whole(first), _whole(other))
        # a landmark that is judged as well would be foretold from its own short training
        return cls(Traits(first.job.space, first.data.shape), first, choices, _but(marks, seen & _digests(choices)))

    def judged(self, short: int, whole: int, draw: int) -> tuple[float, float, float]:
        """Tau of a regression without a supernet and of corrected scores, and by how many per cent these are off."""
        rng, asked = random.Random(draw), self.choices[draw % 2]
        known, marks = _some(self.choices[1 - draw % 2], whole, rng), _some(self.marks, short, rng)
        plain, corrected = (self._found(known, marks, asked, scores=scores) for scores in (False, True))
        alone = np.array([np.mean(net.standalone) for net in asked.nets])
        off = float(100 * np.median(np.abs(np.array(corrected) - alone) / alone))
        return _tau(plain, asked), _tau(corrected, asked), off

    def _found(self, known: Trained, marks: Trained, asked: Trained, *, scores: bool) -> list[float]:
        metric = self.study.job.task.metric
        some = marks if marks.nets else None
        fitted = Correction.fit(self.traits, metric.name, metric.direction, known, some, scores=scores)
        return [fitted(arch, _scores(net, metric.name)) for net, arch in zip(asked.nets, asked.archs, strict=True)]


def _whole(study: Ranked) -> Trained:
    nets, _ = Results(study, {}).whole()
    known = [net for net in nets if net.digest in study.ranked]
    return Trained(known, [study.ranked[net.digest] for net in known])


def _digests(choices: tuple[Trained, ...]) -> set[str]:
    return {net.digest for choice in choices for net in choice.nets}


def _but(trained: Trained, left_out: set[str]) -> Trained:
    return _kept(trained, (i for i, net in enumerate(trained.nets) if net.digest not in left_out))


def _some(trained: Trained, count: int, rng: random.Random) -> Trained:
    return _kept(trained, iter(rng.sample(range(len(trained.nets)), min(count, len(trained.nets)))))


def _kept(trained: Trained, places: Iterator[int]) -> Trained:
    chosen = list(places)
    return replace(trained, nets=[trained.nets[i] for i in chosen], archs=[trained.archs[i] for i in chosen])


def _scores(net: Net, metric: str) -> dict[str, float]:
    return {metric: net.inherited, **({LOSS: -net.proxies[LOSS]} if LOSS in net.proxies else {})}


def _tau(found: list[float], choice: Trained) -> float:
    return float(kendalltau(found, [np.mean(net.standalone) for net in choice.nets])[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
