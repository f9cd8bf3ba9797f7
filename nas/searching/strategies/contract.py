"""What a strategy is: a stream of archs as a pure function of the seed and of what it was told."""

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.arch import Arch
from nas.searching.objectives import Values
from nas.searching.problem import Problem, finite
from nas.space import stratified

EXPLORE = 8
"""After so many proposals one is drawn at random, so that no value of a knob is out of reach."""
STRATIFY_BY = ("latency_ms", "flops", "params")


@dataclass(frozen=True, slots=True)
class Told:
    """One evaluated arch; values are empty if the evaluation failed."""

    arch: Arch
    values: Values


class Strategy(ABC):
    """Ask and tell, without repeats.

    Proposals come in rounds of `batch` tells. Within a round they are one stream, made by `stream` from what was told
    before the round, minus what was asked or told already. So a search that was killed and is told its archive again
    goes on with the arch that it would have proposed next. Nobody waits at a round's end: the stream has no end.
    """

    name: ClassVar[str]

    def __init__(self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 16) -> None:
        problem.check()
        self.problem, self.seed, self.batch = problem, seed, batch
        self._told: list[Told] = []
        self._origins: dict[str, str] = {}
        self._design = _first_design(problem, first, random.Random(f"{seed}/design"))
        self._round = -1
        self._stream: Iterator[Arch] = iter(())

    @abstractmethod
    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Arch]:
        """Archs within the limits, best first, in an order that only `told` and `rng` decide; repeats are skipped."""

    def ask(self, count: int = 1) -> list[Arch]:
        """Up to `count` archs that were never asked or told; fewer only if the space has no more."""
        asked = []
        for origin, arch in itertools.islice(self._fresh(), count):
            self._origins[arch.digest] = origin
            asked.append(arch)
        return asked

    def tell(self, arch: Arch, values: Values) -> None:
        """Adds a result; empty values for an evaluation that failed."""
        self._origins.setdefault(arch.digest, self.name)
        self._told.append(Told(arch, values))

    def origin(self, arch: Arch) -> str:
        """Where an asked arch came from: `smallest`, `anchor/<family>`, `stratified`, or the strategy's name."""
        return self._origins[arch.digest]

    def rng(self, purpose: str) -> random.Random:
        """A generator of this name, the same in every process."""
        return random.Random(f"{self.seed}/{self.name}/{purpose}")

    def complete(self, told: Sequence[Told]) -> list[Told]:
        """Results that have every objective; those that meet all constraints if there are at least two such."""
        names = [objective.name for objective in self.problem.objectives]
        whole = [result for result in told if finite(result.values, names)]
        able = [result for result in whole if self.problem.feasible(result.values)]
        return able if len(able) > 1 else whole

    def _fresh(self) -> Iterator[tuple[str, Arch]]:
        for origin, arch in self._design:
            if arch.digest not in self._origins:
                yield origin, arch
        repeats, patience = 0, self._patience()
        while repeats < patience:
            arch = self._next()
            if arch.digest in self._origins:
                repeats += 1
            else:
                repeats = 0
                yield self.name, arch

    def _next(self) -> Arch:
        current = len(self._told) // self.batch
        if current != self._round:
            own = self.stream(self._told[: current * self.batch], self.rng(f"round/{current}"))
            self._stream = _explored(own, self.problem.draws(self.rng(f"draws/{current}")))
            self._round = current
        return next(self._stream)

    def _patience(self) -> int:
        # a space smaller than this is drawn out with near certainty before the search calls it exhausted
        return max(1024, min(16384, 16 * self.problem.space.size))


def _explored(own: Iterator[Arch], draws: Iterator[Arch]) -> Iterator[Arch]:
    for turn, arch in enumerate(own, 1):
        yield arch
        if turn % EXPLORE == 0:
            yield next(draws)
    yield from draws


def strata_cost(problem: Problem, arch: Arch) -> float:
    """The cost over which archs are spread: latency if it is known, else flops, else params, else none (1)."""
    name = next((name for name in STRATIFY_BY if name in problem.known), None)
    return 1.0 if name is None else problem.cheap([arch])[0][name]


def _first_design(problem: Problem, count: int, rng: random.Random) -> list[tuple[str, Arch]]:
    space = problem.space
    corners = {"smallest": space.smallest(), "largest": space.largest()}
    corners |= {f"anchor/{family}": arch for family, arch in space.anchors().items()}
    design = {arch.digest: (origin, arch) for origin, arch in reversed(corners.items()) if problem.excess(arch) == 0}
    design = dict(reversed(design.items()))
    spread = stratified(space, 4 * count, lambda arch: strata_cost(problem, arch), rng, oversample=4)
    able = [arch for arch in problem.keep(spread) if arch.digest not in design]
    able += [arch for arch in problem.founders if arch.digest not in design]
    missing = max(0, count - len(design))
    step = max(1.0, len(able) / max(1, missing))
    for i in range(min(missing, len(able))):
        arch = able[int(i * step)]
        design[arch.digest] = ("stratified", arch)
    return list(design.values())
