"""The search: a loop over a problem, a strategy, workers and an archive, for any function from a point to values."""

from collections.abc import Mapping

from nas.progress import say, track
from nas.searching.archive import EXACT, Archive, Evaluation
from nas.searching.executor import Executor
from nas.searching.loop import Loop, Pace
from nas.searching.ordered import Ordered
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Strategy

__all__ = ["Pace", "search"]


def search(  # noqa: PLR0913 (the parts of a search)
    problem: Problem,
    strategy: Strategy,
    executor: Executor,
    archive: Archive,
    *,
    budget: float,
    pace: Pace | None = None,
    known: Mapping[str, Evaluation] | None = None,
    label: str = "search",
) -> list[Evaluation]:
    """Evaluates until one more would be beyond the worth of `budget` full evaluations, or the space has no more.

    Returns the archive's content. A search that was killed goes on with the same call; processes that share the archive
    share the work. Points in `known` (by digest) are copied, not scored again.
    """
    pace = pace or Pace()
    loop = Ordered if pace.reproducible and executor.capacity > 1 else Loop
    running = loop(problem, strategy, executor, archive, budget, known or {}, pace)
    with track(label, budget, "evaluations") as tracker:
        tracker.resume(archive.spent)
        while executor.pending or archive.spent + pace.fidelities[0] <= budget + EXACT:
            running.feed()
            if running.is_exhausted and not running.is_fed and not executor.pending and not archive.claimed:
                say(f"{label}: the space has no architecture left within the constraints, after {len(archive)}")
                break
            running.finish(running.collect())
            tracker.set(archive.spent, running.note())
    return archive.evaluations
