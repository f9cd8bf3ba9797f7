"""What a kind of trial owes `nas tune`: checked settings before anything starts, a job in a process, a comparison."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch

from nas.errors import NasError
from nas.job import Job
from nas.run import Run
from nas.settings import read_settings
from nas.tuning import Combination, check_over, combinations

Asked = Mapping[str, Any]
"""What a trial is to do, as plain data: its settings, and what else its kind puts there."""


class Trials(ABC):
    """The trials of one kind that a tuning asks for."""

    sections: ClassVar[tuple[str, ...]]
    """Settings that the job reads, which `tune.over` may change."""
    own: ClassVar[Mapping[str, str]]
    """Settings that are not the user's, with what to do instead."""
    mode: str | None = None
    """"max" or "min" of what trials report, if some may be stopped by it."""

    def __init__(self, job: Job) -> None:
        self.job, self.config = job, job.settings.tune
        self.folder = f"tune/{self.config.name}"

    @cached_property
    def combinations(self) -> list[Combination]:
        """Those of `tune.over`; `ConfigError` if it names what this kind of job cannot be compared over."""
        over, plain = self.config.over or {}, self.job.settings.plain
        check_over(over, plain, self.sections, self.own)
        return combinations(over)

    @cached_property
    def asked(self) -> dict[str, Asked]:
        """By label, what each trial is to do; an error says for which combination it cannot be done, and why."""
        return {label: asked for one in self.combinations for label, asked in self._asked_of(one).items()}

    def _asked_of(self, one: Combination) -> Mapping[str, Asked]:
        try:
            return self.ask(one, self._plain(one))
        except NasError as error:
            raise type(error)(f"tune.over: {one.label} cannot be done: {error}") from error

    def _plain(self, one: Combination) -> dict[str, Any]:
        return portable(one.of(self.job.settings.plain), self.job.run)

    def job_of(self, plain: Mapping[str, Any]) -> Job:
        """The job under a trial's settings."""
        return self.job.under(read_settings(plain))

    @abstractmethod
    def ask(self, one: Combination, plain: dict[str, Any]) -> Mapping[str, Asked]:
        """By label, the trials of a combination; raises if one of them would fail for its settings."""

    @abstractmethod
    def done(self, label: str) -> float:
        """The share of the trial that is on disk."""

    @abstractmethod
    def compare(self, labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[list[str]]]:
        """Rows of the comparison of these trials, and its cells for people."""


def portable(plain: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Settings for trials: those run in other folders and on other machines, and know nothing of further trials."""
    own = {**plain["run"], "dir": str(run.path)}
    return {**{name: section for name, section in plain.items() if name != "tune"}, "run": own}


def open_trial(config: Mapping[str, Any]) -> tuple[Run, Job, Asked]:
    """In the trial's process: its folder, its job and what it was asked for."""
    tuning = Run.at(config["folder"])
    everything = tuning.read_json("asked.json")
    asked: Asked = everything["trials"][config["label"]]
    torch.set_num_threads(everything["threads"])
    settings = read_settings(asked["settings"])
    return Run.at(tuning.path / config["label"]), Job(Run.at(settings.run.dir), settings, asked.get("table")), asked
