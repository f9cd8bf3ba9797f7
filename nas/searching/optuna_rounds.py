"""Optuna's samplers as strategies: each round is a study of its own, rebuilt from what was told."""

import random
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from nas.arch import Knob
from nas.pareto import Points
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Seen, Strategy, Told

POPULATION = 24


class OptunaStrategy(Strategy):
    """Genes as Optuna parameters, numeric ones as ordered integers; nothing but the archive survives a kill."""

    def __init__(
        self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 4, start: Sequence[Any] = ()
    ) -> None:
        super().__init__(problem, seed=seed, first=first, batch=batch, start=start)
        choices = problem.space.choices
        self._ordered = dict(zip(choices, problem.space.ordered.tolist(), strict=True))
        self._values = {gene: values for gene, values in choices.items() if len(values) > 1}
        self._axes = {gene: self._axis(gene, values) for gene, values in self._values.items()}

    @abstractmethod
    def make(self, seen: Seen, seed: int) -> optuna.samplers.BaseSampler | None:
        """The sampler of a round; None while too little was told."""

    def chosen(self, seen: Seen) -> Sequence[int]:
        """Which of the points a study is told of."""
        return range(len(seen.told))

    def attributes(self) -> dict[str, Any]:
        """What marks a told trial for the sampler."""
        return {}

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """What the sampler asks for, as long as enough of it is within the limits."""
        seen = self.seen(told)
        sampler = self.make(seen, rng.randrange(2**32)) if self._axes else None
        if sampler is None:
            return
        study = self._study(seen, sampler)
        for _ in range(64 * self.batch):
            point = self.problem.space.point(self._decode(study.ask(self._axes).params))
            if self.problem.excess(point) == 0:
                yield point

    def _study(self, seen: Seen, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        # optuna announces every study on the terminal by default
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(directions=["minimize"] * len(self.problem.objectives), sampler=sampler)
        costs = self._costs(seen)
        study.add_trials(
            optuna.trial.create_trial(
                params=self._encode(seen.points[i]),
                distributions=self._axes,
                values=costs[i].tolist(),
                system_attrs=self.attributes(),
            )
            for i in self.chosen(seen)
        )
        return study

    def _costs(self, seen: Seen) -> Points:
        """Objectives, what is not feasible or not wanted moved behind the worst by how far it is off."""
        extent = np.ptp(seen.costs, axis=0) + 1e-12
        off = seen.off[:, None]
        moved: Points = np.where(off > 0, seen.costs.max(axis=0) + extent * (1 + off), seen.costs)
        return moved

    def _encode(self, point: Any) -> dict[str, Knob]:
        genes = self.problem.space.genes(point)
        # genes that the point does not express keep some value, so that they can come back in a child
        hidden = random.Random(point.digest)
        full = {gene: genes[gene] if gene in genes else hidden.choice(self._values[gene]) for gene in self._axes}
        return {gene: self._values[gene].index(v) if self._ordered[gene] else v for gene, v in full.items()}

    def _decode(self, params: dict[str, Any]) -> dict[str, Knob]:
        return {gene: self._values[gene][int(v)] if self._ordered[gene] else v for gene, v in params.items()}

    def _axis(self, gene: str, values: Sequence[Knob]) -> BaseDistribution:
        if self._ordered[gene]:
            return _Steps(0, len(values) - 1)
        return _Names(tuple(values))


class _Steps(IntDistribution):
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Steps":
        return self  # nobody changes it, and optuna's copies of every told trial took most of a round


class _Names(CategoricalDistribution):
    def __deepcopy__(self, memo: dict[int, Any]) -> "_Names":
        return self


def sampler_of(name: str, **settings: Any) -> optuna.samplers.BaseSampler:
    """Optuna's sampler of that name."""
    with warnings.catch_warnings():
        # NSGA-III and joint estimates have been called experimental since 2022
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        made: optuna.samplers.BaseSampler = getattr(optuna.samplers, name)(**settings)
        return made


class Generations(OptunaStrategy):
    """Evolution: each round is one generation of children of the best ranks of everything told."""

    sampler: ClassVar[str]

    def make(self, seen: Seen, seed: int) -> optuna.samplers.BaseSampler | None:
        """The sampler, once there is a whole population."""
        if len(seen.told) < POPULATION:
            return None
        return sampler_of(self.sampler, population_size=POPULATION, seed=seed)

    def chosen(self, seen: Seen) -> Sequence[int]:
        """Whole ranks, best first, until they hold a population: all that elitist selection can choose from."""
        last = np.sort(seen.ranks)[POPULATION - 1]
        return [i for i, rank in enumerate(seen.ranks) if rank <= last]

    def attributes(self) -> dict[str, Any]:
        """All of them are the generation before."""
        return {f"{self.sampler}:generation": 0}
