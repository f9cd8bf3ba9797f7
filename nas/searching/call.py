"""`nas.search`: any space, any objective, one call."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

from nas.config import load
from nas.errors import CheckpointError, ConfigError
from nas.journal import Log
from nas.pareto import Direction
from nas.progress import say
from nas.searching import strategies
from nas.searching.archive import EXACT, Archive, Evaluation
from nas.searching.engine import search as run
from nas.searching.executor import Executor, Scorer, SerialExecutor
from nas.searching.found import Found
from nas.searching.objectives import Constraint, Objective, Values
from nas.searching.problem import Problem, nothing
from nas.searching.settings import SearchOptions
from nas.searching.workers import RayExecutor
from nas.space import as_space

Limits = Mapping[str, float] | Sequence[Constraint]


def search(  # noqa: PLR0913 (one call is the point; all but three have defaults)
    space: Any,
    objective: Scorer,
    directions: Mapping[str, str],
    *,
    strategy: str = "surrogate",
    budget: int = 200,
    constraints: Limits = (),
    costs: Callable[[Any], Values] | None = None,
    start: Iterable[Any] = (),
    folder: str | Path | None = None,
    **options: Any,
) -> Found:
    """Searches a space for the best points of an objective.

    space: a `SearchSpace`, the content of a space file, `{name: [choice, ...]}`, or a list of mappings (a table)
    objective: a function of a point (an `Arch`, or a mapping of names to values) that returns values by name; with
        `fidelities` it is also called as `objective(point, fidelity=share)`
    directions: for each value that counts, "minimise" or "maximise"
    constraints: `{name: bound}`, from below for a value that is maximised, from above for all others
    costs: values that are known without an evaluation, as a function of a point; they steer and limit for free
    start: points or evaluations of an earlier search; those points are evaluated first
    folder: where the archive lives; the same call goes on with it after a kill, and processes that share it share the
        work. Without one, results live in memory only
    options: those of `nas.searching.SearchOptions`: workers, seed, first, batch, fidelities, reproducible, timeout_s,
        prefer, ray

    Errors: `ConfigError` for a wrong direction or option, `InfeasibleError` if nothing can meet the constraints on
    `costs`, `CheckpointError` for a folder with the archive of another space or other objectives.
    """
    asked = load(SearchOptions, {"strategy": strategy, "budget": budget, **options})
    problem = Problem(
        as_space(space),
        _objectives(directions),
        _constraints(constraints, directions),
        nothing if costs is None else _Remembered(costs),
        asked.prefer,
    )
    problem.check()
    points = [getattr(item, "point", item) for item in start]
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own, workers(objective, asked) as executor:
        return conduct(problem, executor, Log(Path(folder or own) / "archive.jsonl"), asked, start=points)


def conduct(
    problem: Problem,
    executor: Callable[[], Executor],
    log: Log,
    options: SearchOptions,
    *,
    start: Sequence[Any] = (),
    known: Mapping[str, Evaluation] | None = None,
) -> Found:
    """One search, or the rest of it; what is `known` by digest is not scored again."""
    kind, archive = strategies.get(options.strategy), open_archive(log, problem)
    if archive.spent + options.fidelities[0] <= options.budget + EXACT:
        strategy = kind(problem, seed=options.seed, first=options.first, batch=options.batch, start=start)
        try:
            run(problem, strategy, executor(), archive, budget=options.budget, pace=options.pace, known=known)
        finally:
            archive.close()
    found = Found(problem, archive.evaluations)
    if not found.front:
        say(f"search: {found.nearest()}")
    return found


def open_archive(log: Log, problem: Problem) -> Archive:
    """The archive; `CheckpointError` if its evaluations have other values than this problem needs."""
    archive = Archive(log, problem.space)
    names = {objective.name for objective in problem.objectives}
    wrong = next((row for row in archive.evaluations if not row.error and not names <= set(row.values)), None)
    if wrong is not None:
        raise CheckpointError(
            f"{log.path} holds evaluations without {', '.join(sorted(names - set(wrong.values)))}: it is of another "
            "search; choose another folder or name"
        )
    return archive


@contextmanager
def workers(scorer: Scorer, options: SearchOptions) -> Iterator[Callable[[], Executor]]:
    """A function that gives the executor, started when first asked for: a finished search needs none."""
    made: list[Executor] = []

    def executor() -> Executor:
        if not made:
            made.append(make_executor(scorer, options))
        return made[0]

    try:
        yield executor
    finally:
        for one in made:
            one.close()


def make_executor(scorer: Scorer, options: SearchOptions) -> Executor:
    """Ray workers, or this process if `workers` is 0."""
    if options.workers == 0:
        return SerialExecutor(scorer, options.timeout_s)
    return RayExecutor(scorer, options.workers, options.ray, timeout_s=options.timeout_s)


class _Remembered:
    """Costs of single points as a function of many, each asked for once."""

    def __init__(self, costs: Callable[[Any], Values]) -> None:
        self._costs, self._known = costs, dict[Any, Values]()

    def __call__(self, points: Sequence[Any]) -> list[Values]:
        for point in points:
            if point not in self._known:
                self._known[point] = {name: float(value) for name, value in self._costs(point).items()}
        return [self._known[point] for point in points]


def _objectives(directions: Mapping[str, str]) -> tuple[Objective, ...]:
    if not directions:
        raise ConfigError(
            "a search needs at least one objective, such as directions={'accuracy': 'maximise'}; got none"
        )
    for name, direction in directions.items():
        if direction not in get_args(Direction):
            raise ConfigError(f"a direction is 'minimise' or 'maximise'; {name!r} has {direction!r}")
    return tuple(Objective(name, cast(Direction, direction)) for name, direction in directions.items())


def _constraints(limits: Limits, directions: Mapping[str, str]) -> tuple[Constraint, ...]:
    if not isinstance(limits, Mapping):
        return tuple(limits)
    return tuple(
        Constraint(name=name, bound=float(bound), direction=cast(Direction, directions.get(name, "minimise")))
        for name, bound in limits.items()
    )
