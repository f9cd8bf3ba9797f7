"""Asynchronous successive halving that also knows what trials of an earlier process had reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from nas.journal import Log
from nas.tuning.settings import AshaConfig

MARK, VALUE, LOG = "mark", "value", "val.jsonl"
Rows = Sequence[Mapping[str, Any]]


# to its annotations marks are whole numbers and trials are Tune's own; to its code they need not be
Asha: Any = ASHAScheduler


class RememberingAsha(Asha):  # type: ignore[misc]
    """Tune keeps no scheduler across a restart, so this one reads the logs in the trials' folders.

    A trial that goes on reports its last row again and is judged by it then; all other rows are taken as they are.
    """

    def __init__(self, folder: Path, config: AshaConfig, mode: str) -> None:
        marks = {"time_attr": MARK, "max_t": 1.0, "grace_period": config.grace, "reduction_factor": config.reduction}
        super().__init__(**marks, metric=VALUE, mode=mode)
        self._folder = folder
        self._past: dict[str, Rows] | None = None
        self._present: dict[str, Any] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Notes the trial; the first of them is added before any runs."""
        if self._past is None:
            self._past = {path.parent.name: Log(path).rows() for path in sorted(self._folder.glob(f"*/{LOG}"))}
        super().on_trial_add(tune_controller, trial)
        if not trial.is_finished():
            self._present[trial.config["label"]] = trial

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> Any:
        """Whether the trial goes on."""
        self._recall()
        return super().on_trial_result(tune_controller, trial, result)

    def _recall(self) -> None:
        past, self._past = self._past or {}, {}
        for label, rows in past.items():
            trial = self._present.get(label)
            known = rows if trial is None else rows[:-1]
            if trial is None:
                trial = SimpleNamespace(trial_id=label)
                super().on_trial_add(None, trial)
            for row in known:
                super().on_trial_result(None, trial, row)
