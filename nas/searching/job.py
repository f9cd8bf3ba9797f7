"""A whole search on a trained supernet: problem, workers, archive, and random search beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.data import Dataset
from nas.errors import ConfigError
from nas.run import Run
from nas.searching import strategies
from nas.searching.archive import Archive, Evaluation
from nas.searching.engine import front_of, hypervolume_curve, search
from nas.searching.executor import Executor, Scorer, SerialExecutor
from nas.searching.objectives import LATENCY, CheapObjectives, Predict, named_objectives
from nas.searching.problem import Problem
from nas.searching.scorer import SupernetScorer
from nas.searching.settings import ConstraintsConfig, SearchConfig, named_constraints
from nas.searching.workers import RayExecutor
from nas.space import SearchSpace
from nas.supernet import Supernet
from nas.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search leaves: its problem, its archive, and that of the random baseline."""

    problem: Problem
    evaluations: list[Evaluation]
    random: list[Evaluation]

    @property
    def front(self) -> list[Evaluation]:
        """The feasible, non-dominated evaluations."""
        return front_of(self.problem, self.evaluations)

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
    problem = Problem(net.space, objectives, named_constraints(limits, task.metric), cheap)
    if predict is None and any(objective.name == LATENCY for objective in objectives):
        raise ConfigError(f"objective {LATENCY!r} needs a latency predictor: run `nas profile` and `nas fit` first")
    problem.check()
    return problem


def run_search(run: Run, problem: Problem, net: Supernet, task: Task, data: Dataset, settings: SearchConfig) -> Outcome:
    """Searches, or goes on with the run's archive, and then runs the random baseline.

    Results are in `search/<name>/archive.jsonl`, those of the baseline in `search/<name>/random.jsonl`; the baseline
    takes from the archive what it has in common with the search, the first design above all. The hypervolume after
    each evaluation of both is in `search/<name>/curve.json`.
    """
    archives = [_archive(run, settings.name, part, problem.space) for part in ("archive", "random")]
    budgets = [settings.budget, round(settings.budget * settings.random_share)]
    if any(len(archive) < budget for archive, budget in zip(archives, budgets, strict=True)):
        scorer = SupernetScorer.of(
            net, task, data.searchable(), batch_size=settings.batch_size, limit=settings.val_limit
        )
        _fill(problem, scorer, archives, budgets, settings)
    outcome = Outcome(problem=problem, evaluations=archives[0].evaluations, random=archives[1].evaluations)
    run.write_json(f"search/{settings.name}/curve.json", dict(zip(("search", "random"), outcome.curves, strict=True)))
    return outcome


def _fill(
    problem: Problem, scorer: Scorer, archives: Sequence[Archive], budgets: Sequence[int], settings: SearchConfig
) -> None:
    main, random = archives
    kinds = [strategies.get(name) for name in (settings.strategy, "random")]
    ours, baseline = (kind(problem, seed=settings.seed, first=settings.first, batch=settings.batch) for kind in kinds)
    executor = make_executor(scorer, settings)
    try:
        search(problem, ours, executor, main, budget=budgets[0])
        search(problem, baseline, executor, random, budget=budgets[1], known=main.by_digest, label="random")
    finally:
        executor.close()


def make_executor(scorer: Scorer, settings: SearchConfig) -> Executor:
    """Ray workers, or this process if `workers` is 0."""
    if settings.workers == 0:
        return SerialExecutor(scorer)
    return RayExecutor(scorer, settings.workers, settings.ray.address, settings.ray.retries)


def _archive(run: Run, name: str, part: str, space: SearchSpace) -> Archive:
    return Archive(run.log(f"search/{name}/{part}.jsonl"), space)
