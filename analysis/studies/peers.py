"""Other tools on a recorded problem: each a stream of genes that is told less-is-better objectives."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna

from nas.arch import Knob
from nas.pareto import Points
from nas.searching import Problem

Genes = Mapping[str, Knob]
Ask = Callable[[Problem, int], Iterator[Any]]
"""From a problem and a seed to a generator: yields genes, is sent objectives `[D]`."""


def optuna_default(problem: Problem, seed: int) -> Iterator[Any]:
    """Optuna's NSGA-II as it comes: population 50, every gene categorical."""
    return _optuna(problem, optuna.samplers.NSGAIISampler(seed=seed), is_tuned=False)


def optuna_tuned(problem: Problem, seed: int) -> Iterator[Any]:
    """Optuna's NSGA-II with population 20, numbers as ordered integers, and no arch evaluated twice."""
    return _optuna(problem, optuna.samplers.NSGAIISampler(population_size=20, seed=seed), is_tuned=True)


def optuna_tpe(problem: Problem, seed: int) -> Iterator[Any]:
    """Optuna's multivariate TPE."""
    return _optuna(problem, optuna.samplers.TPESampler(multivariate=True, seed=seed), is_tuned=False)


def _optuna(problem: Problem, sampler: optuna.samplers.BaseSampler, *, is_tuned: bool) -> Iterator[Any]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=sampler)
    ordered = dict(zip(problem.space.choices, problem.space.ordered.tolist(), strict=True))
    seen: dict[Any, Points] = {}
    while True:
        trial = study.ask()
        genes = {}
        for gene, values in problem.space.choices.items():
            is_number = is_tuned and ordered[gene]
            at = trial.suggest_int(gene, 0, len(values) - 1) if is_number else None
            genes[gene] = trial.suggest_categorical(gene, values) if at is None else values[at]
        point = problem.space.point(genes)
        if is_tuned and point in seen:
            study.tell(trial, seen[point].tolist())
            continue
        seen[point] = yield genes
        study.tell(trial, seen[point].tolist())


def pymoo_nsga2(problem: Problem, seed: int) -> Iterator[Any]:
    """pymoo's NSGA-II on integers, duplicates removed, population 40."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem as Space
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.problems.static import StaticProblem

    choices = list(problem.space.choices.items())
    high = np.array([len(values) - 1 for _, values in choices])
    space = Space(n_var=len(choices), n_obj=len(problem.objectives), xl=0 * high, xu=high, vtype=int)
    operators = {"repair": RoundingRepair(), "vtype": float}
    algorithm = NSGA2(
        pop_size=40, sampling=IntegerRandomSampling(), crossover=SBX(**operators), mutation=PM(**operators)
    )
    algorithm.setup(space, termination=("n_gen", 10**6), seed=seed, verbose=False)
    while True:
        brood = algorithm.ask()
        told = []
        for row in brood.get("X"):
            told.append((yield {gene: values[int(i)] for (gene, values), i in zip(choices, row, strict=True)}))
        Evaluator().eval(StaticProblem(space, F=np.array(told)), brood)
        algorithm.tell(infills=brood)


def syne_tune_morea(problem: Problem, seed: int) -> Iterator[Any]:
    """Syne Tune's multi-objective regularised evolution, its searcher alone."""
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    genes = {gene: choice(list(values)) for gene, values in problem.space.choices.items()}
    searcher = MultiObjectiveRegularizedEvolution(config_space=genes, random_seed=seed)
    for number in itertools.count():
        config = searcher.suggest()
        costs = yield config
        searcher.on_trial_complete(str(number), config, costs.tolist())


PEERS: dict[str, Ask] = {
    "Optuna NSGA-II": optuna_default,
    "Optuna NSGA-II tuned": optuna_tuned,
    "Optuna TPE": optuna_tpe,
    "pymoo NSGA-II": pymoo_nsga2,
    "Syne Tune MO-REA": syne_tune_morea,
}
