"""The stages of a run in order, each a function of the run folder and the settings; done work is not done again."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from nas import profiling, report, tracking
from nas.arch import Arch
from nas.errors import CheckpointError, ConfigError, NasError
from nas.export import export
from nas.job import Job
from nas.predict import ErrorCard
from nas.predict.beside_softmax import beside_softmax, losers
from nas.progress import say
from nas.run import Run
from nas.searching import finish_front, run_search, summary, violations
from nas.settings import Settings
from nas.train import evaluate, load_retrained, retrain, train_supernet
from nas.trials import tune

CARD, DEVICE, OPERATORS = "profile/card.json", "profile/device.json", "profile/operators.json"
TIMED = ("run", "profile", "search")
CHAIN = ("train", "profile", "fit", "search", "retrain", "export", "report")


def call(stage: str, asked: Settings, overrides: Sequence[str], *, text_only: bool = False) -> None:
    """Runs a stage, or all of them, in the run folder of the settings, which a tuning's own settings leave alone."""
    job = Job(Run.at(asked.run.dir), asked)
    if text_only:
        print(report.text(job.run))
        return
    if stage in TIMED:
        asked.profile.engine()  # a runtime that is not there must not cost a training first
    record = f"tune/{asked.tune.name}/run.json" if stage == "tune" else "run.json"
    before = job.run.read_json(record, {})
    _introduce(job.run, record, before, asked, overrides)
    names = [name for name in CHAIN if not _is_settled(job, name)] if stage == "run" else [stage]
    for name in names:
        try:
            with job.run.stage(name):
                STAGES[name](job)
        except NasError:
            if name == names[0]:
                job.run.write_json(record, before)  # what was refused at once must not stick to the run
            raise


def train(job: Job) -> None:
    """The supernet."""
    with tracking.tracker(job.settings.run.wandb, job.run) as log:
        train_supernet(
            job.run, job.settings.space, job.dataset, job.settings.train, seed=job.settings.run.seed, on_log=log
        )
    figures = job.run.read_json("summary.json")
    metric = job.task.metric.name
    say(
        f"train     supernet of {job.space.size:.2g} architectures, largest has "
        f"{metric} {figures[f'supernet.largest.val_{metric}']:.3f} on val"
    )


def profile(job: Job) -> None:
    """The device's table."""
    cfg = job.settings.profile
    rows = profiling.profile(job.net, cfg, job.run, job.settings.run.seed, choose=job.choose, only=job.telling())
    device = cfg.fingerprint()
    job.run.write_json(DEVICE, {**device.to_dict(), "workload": job.load.to_dict(), "rows": len(rows)})
    say(f"profile   {len(rows)} measurements of {device.runtime} on this device, in {cfg.tables(job.run).path}")


def fit(job: Job) -> None:
    """The predictor and its error card; from here on the run keeps the rows, whatever others add to the table."""
    job.keep_table()
    card = ErrorCard.of(job.predictor, job.measured, job.net.space, job.load.shape)
    job.run.write_json(CARD, card.to_dict())
    job.run.record(card.figures())
    say(card.text())
    say(f"fit       table kept in {job.run.path / job.table_name}")
    best = beside_softmax(job.measured, job.net.space)
    job.run.write_json(OPERATORS, best)
    if lost := losers(best):
        say(f"fit       nowhere faster than softmax on this device: {', '.join(lost)}")


def search(job: Job) -> None:
    """The archive, then the front, measured and scored on all of val."""
    cfg, limits, task, net = job.settings.search, job.settings.constraints, job.task, job.net
    job.claim_search()
    archive, front = (job.run.path / f"search/{cfg.name}" / name for name in ("archive.jsonl", "front.json"))
    outcome = run_search(job.run, job.problem, net, task, job.dataset.searchable(), cfg)
    if front.exists() and front.stat().st_mtime >= archive.stat().st_mtime:
        say(report.front_table(job.run))
        return
    rows = finish_front(
        job.problem,
        outcome.evaluations,
        metric=task.metric.name,
        measure=lambda archs: _measured(job, archs),
        rescore=lambda archs: [evaluate(net, arch, task, job.dataset.val) for arch in archs],
        cap=cfg.front_size,
    )
    job.run.write_json(f"search/{cfg.name}/front.json", rows)
    job.run.record(summary(outcome, rows, task.metric.name, limits.latency_ms))
    say(report.front_table(job.run))
    if limits.latency_ms is not None:
        beyond = violations(rows, limits.latency_ms)
        say(
            f"search    {beyond} of {len(rows)} measured networks exceed latency_ms {limits.latency_ms:g}; stated: at "
            f"most {1 - limits.confidence:.0%}"
        )


def retrain_winners(job: Job) -> None:
    """Winners alone, and their test score."""
    cfg = job.settings
    for arch in _chosen(job):
        if _retrained(job, arch) is None:
            retrain(job.run, job.net, arch, job.dataset, cfg.retrain, cfg.train, seed=cfg.run.seed)
        result = job.run.read_json(f"retrain/{arch.digest}/result.json")
        job.run.record({f"retrain.{arch.digest}.{k}": result[k] for k in ("inherited_val", "val", "test")})
        say(
            f"retrain   {arch.digest}  {result['metric']}: inherited {result['inherited_val']:.4f}, alone "
            f"{result['val']:.4f} on val, {result['test']:.4f} on test"
        )


def export_winners(job: Job) -> None:
    """Winners with the weights of their finished retraining, or with inherited ones."""
    measured = {row["digest"]: row["measured"]["latency_ms"] for row in job.front}
    for arch in _chosen(job):
        alone = load_retrained(job.run, job.net, arch) if _retrained(job, arch) else None
        folder, latency = job.run.path / "export" / arch.digest, {"latency_ms": measured[arch.digest]}
        card = export(alone or job.net, arch, folder, job.settings.export, latency=latency)
        job.run.record({f"export.{arch.digest}.{name}": value for name, value in card.parity.items()})
        say(f"export    {arch.digest}  {folder}")


def write_report(job: Job) -> None:
    """The page."""
    say(f"report    {report.write(job.run)}")


STAGES: dict[str, Callable[[Job], None]] = {
    "train": train,
    "profile": profile,
    "fit": fit,
    "search": search,
    "retrain": retrain_winners,
    "export": export_winners,
    "report": write_report,
    "tune": tune,
}


def _is_settled(job: Job, stage: str) -> bool:
    """Whether a chain must leave a stage alone: new measurements would move the predictions under a search."""
    return stage in ("profile", "fit") and (job.run.path / CARD).exists()


def _measured(job: Job, archs: Sequence[Arch]) -> list[tuple[float, float]]:
    """Medians and quartile distances, at the pace of the device's table: with its reference net beside them, so that
    measured and predicted milliseconds compare although the machine's speed has moved since."""
    timings, seen = profiling.measure(job.net, archs, job.settings.profile)
    pace = statistics.median(row.reference_ms for row in job.measured) / seen.median_ms
    return [(timing.median_ms * pace, (timing.high_ms - timing.low_ms) * pace) for timing in timings]


def _chosen(job: Job) -> list[Arch]:
    """The archs asked for, or of the front the best, then the balanced one, then the others by quality."""
    known = {row["digest"]: Arch.from_dict(row["arch"]) for row in job.front}
    wanted = job.settings.retrain.archs
    if missing := [digest for digest in wanted if digest not in known]:
        raise ConfigError(f"retrain.archs must be of the front ({', '.join(known)}); got {', '.join(missing)}")
    if wanted:
        return [known[digest] for digest in wanted]
    sign = 1.0 if job.task.metric.direction == "maximise" else -1.0
    by_quality = sorted(
        (row for row in job.front if row["is_front"]), key=lambda row: -sign * row["measured"]["quality_val"]
    )
    if not by_quality:
        say("nothing to choose: no architecture of the front meets the constraints once measured")
    ordered = by_quality[:1] + sorted(by_quality[1:], key=lambda row: not row["is_knee"])
    return [known[row["digest"]] for row in ordered[: job.settings.retrain.count]]


def _retrained(job: Job, arch: Arch) -> dict[str, Any] | None:
    """The result of the arch's finished retraining; `CheckpointError` if that was another one than is asked for."""
    cfg = job.settings
    result: dict[str, Any] | None = job.run.read_json(f"retrain/{arch.digest}/result.json")
    asked = {"start": cfg.retrain.start, "steps": cfg.retrain.steps or cfg.train.steps, "seeds": [cfg.run.seed]}
    if result is not None and (changed := [key for key in asked if result[key] != asked[key]]):
        raise CheckpointError(
            f"{arch.digest} was retrained with other settings ({', '.join(f'{k} {result[k]}' for k in changed)}): "
            f"delete {job.run.path / 'retrain' / arch.digest} to retrain it, or drop the override"
        )
    return result


def _introduce(run: Run, record: str, known: Mapping[str, Any], asked: Settings, overrides: Sequence[str]) -> None:
    kept = {arg.partition("=")[0]: arg for arg in [*known.get("overrides", []), *overrides]}
    packages = ("torch", "numpy", "ray", "optuna", "hydra-core")
    run.write_json(
        record,
        {
            "format": 1,
            "overrides": list(kept.values()),
            "settings": asked.plain,
            "command": " ".join(sys.argv),
            "started": known.get("started", time.strftime("%Y-%m-%dT%H:%M:%S")),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
            "machine": {"system": platform.platform(), "cores": os.cpu_count(), "cuda": torch.cuda.is_available()},
        },
    )
