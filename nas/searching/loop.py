"""What a search does between two results: ask, claim, submit, write down, tell."""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.errors import NasError
from nas.progress import say
from nas.searching.archive import EXACT, Archive, Evaluation
from nas.searching.executor import Executor, Scored, Task
from nas.searching.fidelity import Ladder
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Strategy

FAILURES, LATER = 5, 25
"""Evaluations in a row that may fail before the search gives up: while none has succeeded, and after that."""
WAIT_S, NOTE_S, SILENT_S = 1.0, 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How evaluations follow each other.

    `fidelities`: shares of a full evaluation, ascending and ending with 1; only points that may enter the front climb.
    `reproducible`: what is proposed depends on the seed and the number of workers, not on who is faster; the price is
    that all wait for one that is several times slower than the others.
    """

    fidelities: tuple[float, ...] = (1.0,)
    reproducible: bool = False


class Loop:
    """Asynchronous: a proposal is made with all that is known when a worker has room."""

    def __init__(  # noqa: PLR0913 (made in one place only)
        self,
        problem: Problem,
        strategy: Strategy,
        executor: Executor,
        archive: Archive,
        budget: float,
        known: Mapping[str, Evaluation],
        pace: Pace,
    ) -> None:
        self._problem, self._strategy, self._executor, self._archive = problem, strategy, executor, archive
        self._budget, self._known, self._ladder = budget, known, Ladder(problem, pace.fidelities)
        self._failed, self._flying = 0, 0.0
        self._worked = any(not row.error for row in archive.evaluations)
        self._climbing: deque[Task] = deque()
        self._heard = self._noted = time.monotonic()
        self._note = ""
        self.is_fed = False
        """Whether the last `feed` found something to do."""
        self.is_exhausted = False
        """Whether the strategy had nothing left when it was last asked."""
        self._remember()

    def feed(self) -> None:
        """Fills the executor's room, taking known points on the way."""
        self.is_fed = False
        for evaluation in self._archive.news():
            self._tell(evaluation)
        while (room := self._affordable()) > 0:
            tasks = self._next(room)
            if not tasks:
                return
            self.is_fed = True
            self._take(tasks)

    def collect(self) -> list[Scored]:
        """What has ended by now; says a word if nothing has for long."""
        ended = self._executor.collect(WAIT_S)
        now = time.monotonic()
        if ended or not self._executor.pending:
            self._heard = now
            if not ended and not self.is_fed:
                time.sleep(WAIT_S)  # others, who share the archive, hold what is left
        elif now - self._heard > SILENT_S:
            self._heard = now
            say(
                f"no result for {SILENT_S:.0f} s, {self._executor.pending} evaluations under way; "
                "search.timeout_s ends those that hang"
            )
        return ended

    def finish(self, results: Sequence[Scored]) -> None:
        """Writes results down, then tells the strategy; gives up after too many failures in a row."""
        self._flying -= sum(result.fidelity for result in results)
        evaluations = [self._evaluation(result) for result in results]
        self._archive.append(*evaluations)
        for evaluation in evaluations:
            self._tell(evaluation)
        self._count_failures(evaluations)

    def note(self) -> str:
        """How many points are on the front."""
        if time.monotonic() - self._noted > NOTE_S:
            self._noted = time.monotonic()
            whole = [row.values for row in self._archive.evaluations if not row.error and row.fidelity == 1.0]
            self._note = f"front {len(self._problem.front(whole))}" if whole else ""
        return self._note

    def _remember(self) -> None:
        for evaluation in self._archive.evaluations:
            self._tell(evaluation)

    def _affordable(self) -> int:
        return min(self._executor.room, max(0, math.floor((self._left() + EXACT) / self._ladder.first)))

    def _left(self) -> float:
        return self._budget - self._archive.spent - self._flying - self._archive.claimed

    def _next(self, count: int) -> list[Task]:
        while self._climbing:
            step = self._climbing.popleft()
            # what is too dear now stays so: what is left only falls
            if self._archive.claim([step.point], step.fidelity, self._budget - self._flying):
                return [step]
        while self._ladder.first <= self._left() + EXACT:
            asked = self._strategy.ask(count)
            self.is_exhausted = not asked
            free = self._archive.claim(asked, self._ladder.first, self._budget - self._flying)
            if free or not asked:
                return [Task(point, self._ladder.first) for point in free]
        return []

    def _take(self, tasks: Sequence[Task]) -> None:
        new = [task for task in tasks if task.point.digest not in self._known]
        for task in tasks:
            if (twin := self._known.get(task.point.digest)) is not None:
                self._flying += 1.0
                self.finish([Scored(point=task.point, values=twin.values, seconds=0.0, error=twin.error)])
        if new:
            self._flying += sum(task.fidelity for task in new)
            self._executor.submit(new)

    def _tell(self, evaluation: Evaluation) -> None:
        self._strategy.tell(evaluation.point, evaluation.values, evaluation.fidelity)
        if (step := self._ladder.climb(evaluation)) is not None and self._is_open(step):
            self._climbing.append(step)

    def _is_open(self, step: Task) -> bool:
        return self._archive.reached(step.point) < step.fidelity

    def _evaluation(self, result: Scored) -> Evaluation:
        values = {**self._problem.cheap([result.point])[0], **result.values}
        wrong = [o.name for o in self._problem.objectives if not math.isfinite(values.get(o.name, math.nan))]
        error = result.error or (f"no finite value for {', '.join(wrong)}" if wrong else "")
        return Evaluation(
            point=result.point,
            values={} if error else values,
            origin=self._archive.origin(result.point) or self._strategy.origin(result.point),
            seconds=result.seconds,
            error=error,
            fidelity=result.fidelity,
        )

    def _count_failures(self, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            self._failed = self._failed + 1 if evaluation.error else 0
            self._worked = self._worked or not evaluation.error
            if self._failed >= (LATER if self._worked else FAILURES):
                raise NasError(
                    f"{self._failed} evaluations in a row failed, the last with: {evaluation.error}; the archive holds "
                    "the reasons. Mend the cause and start again under another search.name or folder, because failed "
                    "points are not tried twice"
                )
