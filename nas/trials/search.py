"""Trials that are whole searches, each in one process and with an archive of its own in the run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from nas.job import Job
from nas.journal import Log
from nas.searching import Archive, Evaluation, hypervolume_curve, run_search, strategies
from nas.trials.contract import Asked, Trials, open_trial
from nas.tuning import Combination
from nas.tuning.table import SearchTrial, search_cells, search_rows

COMPARED = ("search.objectives", "search.val_limit")
"""Settings of the search that change what an evaluation's values are."""


class SearchTrials(Trials):
    """Searches that differ in strategy, seed, workload or limits."""

    sections: ClassVar[tuple[str, ...]] = ("search", "constraints", "profile", "predict")
    own: ClassVar[Mapping[str, str]] = {
        "search.name": "it is made of the values; set tune.name",
        "search.workers": "a trial is one process; set tune.max_concurrent",
        "search.ray": "set tune.ray",
        "search.random_share": "add random to the values of search.strategy",
        "search.front_size": "trials measure no front",
        "search.timeout_s": "it needs workers",
        "profile.minutes": "trials measure nothing; run `nas profile` first",
    }

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._jobs: dict[str, Job] = {}
        self._seen: dict[str, tuple[float, int]] = {}

    def ask(self, one: Combination, plain: dict[str, Any]) -> Mapping[str, Asked]:
        """The search, once its strategy exists, its device was measured and its limits can be met."""
        name = f"{self.folder}/{one.label}"
        alone = {"name": name, "workers": 0, "random_share": 0.0, "timeout_s": None}
        plain = {**plain, "search": {**plain["search"], **alone}}
        job = self.job_of(plain)
        strategies.get(job.settings.search.strategy)
        _ = job.measured, job.problem
        if not (job.run.path / job.table_name).exists():
            job.keep_table()
        self._jobs[one.label] = job
        return {one.label: {"settings": plain, "table": job.table_name}}

    def job_of(self, plain: Mapping[str, Any]) -> Job:
        """The job, sharing predictors with one of the same device and workload."""
        made = super().job_of(plain)
        wanted = (made.settings.profile, made.settings.predict)
        known = (j for j in self._jobs.values() if (j.settings.profile, j.settings.predict) == wanted)
        return next(known, self.job).under(made.settings)

    def done(self, label: str) -> float:
        """Evaluations of the archive over the budget."""
        spent, offset = self._seen.get(label, (0.0, 0))
        rows, offset = Log(self._archive(label)).tail(offset)
        spent += sum(float(row.get("fidelity", 1.0)) for row in rows if "values" in row)
        self._seen[label] = spent, offset
        return min(1.0, spent / self._jobs[label].settings.search.budget)

    def compare(self, labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[list[str]]]:
        """Hypervolumes in one box for all searches whose values compare."""
        known = {one.label: one for one in self.combinations}
        archives = {label: self._evaluations(label) for label in labels}
        trials = []
        for label in labels:
            problem = _problem(known[label].overrides)
            among = [e for other in labels if _problem(known[other].overrides) == problem for e in archives[other]]
            trials.append(self._trial(known[label], problem, archives[label], among))
        rows = search_rows(trials)
        return rows, search_cells(rows)

    def _trial(
        self, one: Combination, problem: str, own: Sequence[Evaluation], among: Sequence[Evaluation]
    ) -> SearchTrial:
        job = self._jobs[one.label]
        return SearchTrial(
            group=one.group,
            problem=problem,
            strategy=job.settings.search.strategy,
            first=job.settings.search.first,
            curve=hypervolume_curve(job.problem, own, among),
            seconds=job.run.read_json(f"{self.folder}/{one.label}/summary.json", {}).get("stage.trial.seconds", 0.0),
        )

    def _evaluations(self, label: str) -> list[Evaluation]:
        return Archive(Log(self._archive(label)), self._jobs[label].problem.space).evaluations

    def _archive(self, label: str) -> Path:
        return self.job.run.path / f"search/{self.folder}/{label}/archive.jsonl"


def _problem(overrides: Mapping[str, Any]) -> str:
    """The overrides that change what values mean, as text."""
    kept = {n: v for n, v in overrides.items() if n in COMPARED or not n.startswith("search.")}
    return json.dumps(kept, sort_keys=True) if kept else ""


def search_trial(config: Mapping[str, Any]) -> None:
    """One search, or what an earlier process left of it."""
    folder, job, _ = open_trial(config)
    with folder.stage("trial"):
        job.claim_search()
        data, cfg = job.dataset.searchable(), job.settings.search
        run_search(job.run, job.problem, job.net, job.task, data, cfg, expect=job.correction)
