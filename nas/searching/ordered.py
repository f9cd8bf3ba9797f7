"""The same search for the same seed, although workers end in any order."""

from nas.errors import ConfigError
from nas.searching.archive import EXACT, Evaluation
from nas.searching.executor import Task
from nas.searching.loop import Loop

SLACK = 2
"""Tasks that may be asked beyond the oldest unfinished one, as a multiple of what the workers hold."""


class Ordered(Loop):
    """Reproducible: the n-th task is made with exactly the results of the first n - lag, in the order of asking.

    A resumed search asks everything again and takes from the archive what is there.
    """

    def _remember(self) -> None:
        self._lag = SLACK * self._executor.capacity
        self._order: list[Task] = []
        self._cost = 0.0
        self._done = {(e.point.digest, e.fidelity): e for e in self._archive.evaluations}
        self._released = 0

    def feed(self) -> None:
        """One task after the other, each once all that it may depend on is told."""
        self.is_fed = False
        while self._executor.room > 0 and self._ladder.first <= self._left() + EXACT and self._release():
            tasks = self._next(1)
            if not tasks:
                return
            self.is_fed = True
            self._order += tasks
            self._cost += sum(task.fidelity for task in tasks)
            if (tasks[0].point.digest, tasks[0].fidelity) not in self._done:
                self._take(tasks)

    def _next(self, count: int) -> list[Task]:
        while self._climbing:
            step = self._climbing.popleft()
            if step.fidelity <= self._left() + EXACT:
                return [step]
        asked = self._strategy.ask(count)
        self.is_exhausted = not asked
        free = self._archive.claim(asked, self._ladder.first)
        if any(point not in free and (point.digest, self._ladder.first) not in self._done for point in asked):
            raise ConfigError(
                f"a reproducible search needs its archive for itself, and another process works on "
                f"{self._archive.path}: wait for it, choose another name or folder, or leave `reproducible` out"
            )
        return [Task(point, self._ladder.first) for point in asked]

    def _left(self) -> float:
        return self._budget - self._cost

    def _release(self) -> bool:
        """Whether everything was told that the next task may depend on."""
        while self._released < len(self._order) - self._lag:
            task = self._order[self._released]
            evaluation = self._done.get((task.point.digest, task.fidelity))
            if evaluation is None:
                return False
            self._released += 1
            super()._tell(evaluation)
        return True

    def _tell(self, evaluation: Evaluation) -> None:
        self._done[evaluation.point.digest, evaluation.fidelity] = evaluation

    def _is_open(self, step: Task) -> bool:
        return True
