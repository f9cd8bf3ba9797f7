"""What the stages of a run share: the run folder, the settings, and what is read from both."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from nas import data, profiling, tasks
from nas.arch import Arch
from nas.errors import CheckpointError
from nas.predict import choose, fit_predictor
from nas.predict.learned import Corrected
from nas.run import Run
from nas.settings import Settings
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet
from nas.train import load_supernet

TABLE = "profile/table.json"


@dataclass(frozen=True)
class Job:
    """One run folder with its settings, and what several stages need of it."""

    run: Run
    settings: Settings

    @cached_property
    def space(self) -> SearchSpace:
        """The space asked for."""
        return load_space(self.settings.space)

    @cached_property
    def dataset(self) -> data.Dataset:
        """The data asked for, test split included: only `retrain` reads it."""
        return data.load(self.settings.data)

    @cached_property
    def task(self) -> tasks.Task:
        """The task that the data poses."""
        return tasks.of(self.dataset)

    @cached_property
    def net(self) -> Supernet:
        """The run's trained supernet."""
        return load_supernet(self.run, self.space)

    @cached_property
    def load(self) -> profiling.Workload:
        """What networks are given when they are timed."""
        return self.settings.profile.workload(self.net.space, self.net.shape)

    def choose(self, rows: Sequence[profiling.Row], candidates: Sequence[Arch], count: int) -> Sequence[Arch]:
        """The candidates whose latency is least certain after these rows."""
        return choose(rows, self.net.space, self.load.shape, candidates, count)

    @cached_property
    def measured(self) -> list[profiling.Row]:
        """The rows that the predictor was last fitted to; before that, the device's table as it is."""
        device, load = self.settings.profile.fingerprint().digest, self.load.digest
        rows = [profiling.Row.of(data) for data in self.run.read_json(TABLE, [])]
        if rows and {(row.device, row.workload) for row in rows} == {(device, load)}:
            return rows
        return self._table()

    def keep_table(self) -> None:
        """Copies the device's table into the run."""
        self.run.write_json(TABLE, [asdict(row) for row in self._table()])

    def _table(self) -> list[profiling.Row]:
        return profiling.profiled(self.run, self.net.space, self.net.shape, self.settings.profile)

    @cached_property
    def predictor(self) -> Corrected:
        """Rebuilt from the device's table."""
        return fit_predictor(self.measured, self.net.space, self.load.shape, self.settings.predict)

    @property
    def front(self) -> list[dict[str, Any]]:
        """Rows of the finished front."""
        rows = self.run.read_json(f"search/{self.settings.search.name}/front.json")
        if rows is None:
            raise CheckpointError("this run has no finished search of that name: run `nas search` first")
        return list(rows)
