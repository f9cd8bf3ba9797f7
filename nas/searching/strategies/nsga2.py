"""NSGA-II ("A Fast and Elitist Multiobjective Genetic Algorithm", 2002) as Optuna implements it, on an arch's genes."""

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from nas.arch import Arch, Knob
from nas.pareto import least, ranks
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Strategy, Told
from nas.space import Encoder

POPULATION = 24
GENERATION = "NSGAIISampler:generation"


class Proposer(Strategy):
    """Children of the elite of everything told, repaired into the space; numeric genes are ordered ones.

    Each round is one generation in a study of its own, rebuilt from what was told, so that nothing but the archive
    has to survive a kill.
    """

    name: ClassVar[str] = "nsga2"

    def __init__(self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 16) -> None:
        super().__init__(problem, seed=seed, first=first, batch=batch)
        self._encoder = Encoder(problem.space)
        self._values = {gene: _ordered(values) for gene, values in self._encoder.choices.items()}
        self._axes = {gene: _axis(values) for gene, values in self._values.items() if len(values) > 1}

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Arch]:
        """Children, for as long as enough of them are within the limits."""
        parents = self._parents(told)
        if len(parents) < POPULATION or not self._axes:
            return
        study = self._study(parents, rng.randrange(2**32))
        for _ in range(64 * self.batch):
            arch = self._encoder.arch(self._decode(study.ask(self._axes).params))
            if self.problem.excess(arch) == 0:
                yield arch

    def _parents(self, told: Sequence[Told]) -> list[Told]:
        # whole ranks, best first, until they hold a population: all that elitist selection can choose from
        complete = self.complete(told)
        points = self.problem.points([result.values for result in complete])
        order = ranks(points, least(points))
        last = np.sort(order)[POPULATION - 1] if len(order) >= POPULATION else order.max(initial=0)
        return [result for result, rank in zip(complete, order, strict=True) if rank <= last]

    def _study(self, parents: Sequence[Told], seed: int) -> optuna.Study:
        # optuna announces every study on the terminal by default
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
        study = optuna.create_study(directions=["minimize"] * len(self.problem.objectives), sampler=sampler)
        points = self.problem.points([parent.values for parent in parents])
        study.add_trials(
            optuna.trial.create_trial(
                params=self._encode(parent.arch),
                distributions=self._axes,
                values=row.tolist(),
                system_attrs={GENERATION: 0},
            )
            for parent, row in zip(parents, points, strict=True)
        )
        return study

    def _encode(self, arch: Arch) -> dict[str, Knob]:
        genes = self._encoder.genes(arch)
        # genes that the arch does not express keep some value, so that they can come back in a child
        hidden = random.Random(arch.digest)
        full = {gene: genes[gene] if gene in genes else hidden.choice(self._values[gene]) for gene in self._axes}
        return {gene: self._values[gene].index(v) if self._is_ordered(gene) else v for gene, v in full.items()}

    def _decode(self, params: dict[str, Knob]) -> dict[str, Knob]:
        return {gene: self._values[gene][int(v)] if self._is_ordered(gene) else v for gene, v in params.items()}

    def _is_ordered(self, gene: str) -> bool:
        return isinstance(self._axes[gene], IntDistribution)


def _is_number(value: Knob) -> bool:
    return not isinstance(value, str)


def _ordered(values: Sequence[Knob]) -> tuple[Knob, ...]:
    return tuple(sorted(values, key=float)) if all(map(_is_number, values)) else tuple(values)


def _axis(values: Sequence[Knob]) -> BaseDistribution:
    numeric = all(map(_is_number, values))
    return IntDistribution(0, len(values) - 1) if numeric else CategoricalDistribution(tuple(values))
