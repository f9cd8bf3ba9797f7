"""Trials that are retrainings of single archs, stopped early where they fall behind."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from nas.arch import Arch
from nas.errors import ConfigError
from nas.job import Job
from nas.journal import Log, held
from nas.run import Run
from nas.train import fit_watched, standalone
from nas.trials.contract import Asked, Trials, open_trial
from nas.tuning import Combination
from nas.tuning.table import RetrainTrial, retrain_cells, retrain_rows
from nas.tuning.tuner import report

VAL, LOG = "val.jsonl", "alone/log.jsonl"


class RetrainTrials(Trials):
    """Every arch under every combination; the metric is that on val."""

    sections: ClassVar[tuple[str, ...]] = ("retrain", "train", "run.seed")
    own: ClassVar[Mapping[str, str]] = {
        "retrain.archs": "set tune.archs",
        "retrain.count": "set tune.archs",
        "retrain.references": "compare them by `nas retrain`",
        "retrain.seeds": "vary run.seed",
    }

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.mode = "max" if job.task.metric.direction == "maximise" else "min"
        self._groups: dict[str, str] = {}

    def ask(self, one: Combination, plain: dict[str, Any]) -> Mapping[str, Asked]:
        """A retraining of each arch."""
        job, made = self.job_of(plain), {}
        cfg = job.settings
        for arch in self._archs():
            label = _joined(arch.digest, one.label)
            self._groups[label] = _joined(arch.digest, one.group)
            steps = cfg.retrain.steps or cfg.train.steps
            marks = list(self.config.asha.marks)
            made[label] = {"settings": plain, "arch": arch.to_dict(), "steps": steps, "marks": marks}
        return made

    def _archs(self) -> list[Arch]:
        known = {row["digest"]: Arch.from_dict(row["arch"]) for row in self.job.front}
        if missing := [digest for digest in self.config.archs if digest not in known]:
            raise ConfigError(f"tune.archs must be of the front ({', '.join(known)}); got {', '.join(missing)}")
        return [known[digest] for digest in dict.fromkeys(self.config.archs or known)]

    def done(self, label: str) -> float:
        """Steps in the training's log over all."""
        rows = self._rows(label, LOG)
        return min(1.0, (rows[-1]["step"] + 1) / self.asked[label]["steps"]) if rows else 0.0

    def compare(self, labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[list[str]]]:
        """Metric on val over seeds, and who was stopped."""
        trials = [self._trial(label) for label in labels if self._rows(label, VAL)]
        rows = retrain_rows(trials, best=str(self.mode))
        return rows, retrain_cells(rows, self.job.task.metric.name)

    def _trial(self, label: str) -> RetrainTrial:
        last, of = self._rows(label, VAL)[-1], int(self.asked[label]["steps"])
        steps = round(last["mark"] * of)
        return RetrainTrial(group=self._groups[label], value=last["value"], steps=steps, of=of, seconds=last["seconds"])

    def _rows(self, label: str, name: str) -> list[dict[str, Any]]:
        return Log(self.job.run.path / self.folder / label / name).rows()


def retrain_trial(config: Mapping[str, Any]) -> None:
    """One retraining, or what an earlier process left of it; reports the metric on val at each mark."""
    folder, job, asked = open_trial(config)
    # a process of a killed tuning may not have ended yet, and both would write the same state
    with held(folder.file("lock")):
        log = folder.log(VAL)
        known = log.rows()
        if known:
            report(known[-1])  # whether it may go on was perhaps not decided before the kill
        for row in _train(job, Arch.from_dict(asked["arch"]), folder, known, asked["marks"]):
            log.append(row)
            report(row)


def _train(
    job: Job, arch: Arch, folder: Run, known: Sequence[Mapping[str, Any]], marks: Sequence[float]
) -> Iterator[dict[str, Any]]:
    cfg = job.settings
    trainer = standalone(job.net, arch, job.dataset.searchable(), cfg.retrain, cfg.train, seed=cfg.run.seed)
    before, start = known[-1]["seconds"] if known else 0.0, time.monotonic()
    rest = marks[len(known) :]
    for mark, value in fit_watched(trainer, folder, "alone", arch, job.dataset.val, rest):
        yield {"mark": mark, "value": value, "seconds": round(before + time.monotonic() - start, 2)}


def _joined(digest: str, label: str) -> str:
    return f"arch={digest}" if label == "all" else f"arch={digest},{label}"
