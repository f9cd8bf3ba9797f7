"""A whole search on a trained supernet: problem, workers, archive, and random search beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.data import Dataset
from nas.errors import ConfigError
from nas.journal import Log
from nas.run import Run
from nas.searching.archive import Evaluation
from nas.searching.call import conduct, workers
from nas.searching.curve import front_of, hypervolume_curve
from nas.searching.executor import Executor
from nas.searching.found import Found
from nas.searching.objectives import LATENCY, CheapObjectives, Predict, named_objectives
from nas.searching.problem import Problem
from nas.searching.scorer import Expect, SupernetScorer, enough
from nas.searching.settings import ConstraintsConfig, SearchConfig, named_constraints
from nas.space import ArchSpace
from nas.supernet import Supernet
from nas.tasks import LOSS, Task


@dataclass(frozen=True, slots=True)
class Outcome(Found):
    """What a search on a supernet found, and what the random baseline did."""

    random: Sequence[Evaluation]

    @property
    def curves(self) -> tuple[list[float], list[float]]:
        """Hypervolume after each evaluation, of the search and of the baseline, in one box."""
        return (
            hypervolume_curve(self.problem, self.evaluations, self.random),
            hypervolume_curve(self.problem, self.random, self.evaluations),
        )


def supernet_problem(
    net: Supernet,
    task: Task,
    predict: Predict | None,
    settings: SearchConfig,
    limits: ConstraintsConfig,
    upper: Predict | None = None,
) -> Problem:
    """The problem that the settings pose on this supernet; raises before long work if it cannot be solved.

    A limit on latency is held by `upper`, what the latency stays below with `limits.confidence`.
    """
    cheap = CheapObjectives(net.space, net.shape, predict, upper if limits.latency_ms else None)
    objectives = named_objectives(settings.objectives, task.metric)
    constraints, scored = named_constraints(limits, task.metric), frozenset({task.metric.name})
    problem = Problem(ArchSpace(net.space), objectives, constraints, cheap, settings.prefer, scored)
    if predict is None and any(objective.name == LATENCY for objective in objectives):
        raise ConfigError(f"objective {LATENCY!r} needs a latency predictor: run `nas profile` and `nas fit` first")
    problem.check()
    return problem


def run_search(
    run: Run,
    problem: Problem,
    net: Supernet,
    task: Task,
    data: Dataset,
    settings: SearchConfig,
    *,
    expect: Expect | None = None,
) -> Outcome:
    """Searches, or goes on with the run's archive, and then runs the random baseline.

    Results are in `search/<name>/archive.jsonl`, those of the baseline in `search/<name>/random.jsonl`; the baseline
    takes from the archive what it has in common with the search, the first design above all. The hypervolume after
    each evaluation of both is in `search/<name>/curve.json`.
    """
    limit = settings.val_limit or enough(data.shape)
    scorer = SupernetScorer.of(
        net,
        task,
        data.searchable(),
        batch_size=settings.batch_size,
        limit=limit,
        with_loss=any(objective.name == LOSS for objective in problem.objectives),
    )
    scorer = scorer if expect is None else scorer.expecting(expect)
    folder = f"search/{settings.name}"
    start = _starts(run, problem, settings.start)
    with workers(scorer, settings) as executor:
        found = conduct(problem, executor, run.log(f"{folder}/archive.jsonl"), settings, start=start)
        random = _baseline(problem, executor, run.log(f"{folder}/random.jsonl"), settings, found)
    outcome = Outcome(problem, found.evaluations, random)
    run.write_json(f"{folder}/curve.json", dict(zip(("search", "random"), outcome.curves, strict=True)))
    return outcome


def _baseline(
    problem: Problem, executor: Callable[[], Executor], log: Log, settings: SearchConfig, found: Found
) -> Sequence[Evaluation]:
    budget = round(settings.budget * settings.random_share)
    asked = replace(settings, strategy="random", budget=max(1, budget), fidelities=(1.0,))
    known = {row.point.digest: row for row in found.evaluations if row.fidelity == 1.0}
    return conduct(problem, executor, log, asked, known=known).evaluations if budget else []


def _starts(run: Run, problem: Problem, names: Sequence[str]) -> list[Any]:
    """The fronts of earlier searches, as far as they are in this space."""
    points = []
    for name in names:
        path = next((p for p in (run.path / f"search/{name}/archive.jsonl", Path(name)) if p.is_file()), None)
        if path is None:
            raise ConfigError(f"search.start names searches of this run or archive files, and {name!r} is neither")
        rows = [row for row in Log(path).rows() if "values" in row]
        evaluations = [Evaluation.from_row(row, problem.space.read) for row in rows]
        points += [row.point for row in front_of(problem, [e for e in evaluations if e.point in problem.space])]
    return points
