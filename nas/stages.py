"""The stages of a run in order, each a function of the run folder and the settings; done work is not done again."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas import profiling, report
from nas.errors import ConfigError, NasError
from nas.export import export
from nas.job import Job
from nas.onlookers import looking_on
from nas.predict import ErrorCard
from nas.predict.beside_softmax import beside_softmax, losers, over_sizes
from nas.profiling.table import device_rows
from nas.progress import say, show, terminal_width
from nas.run import Run
from nas.searching import finish_front, run_search, summary, violations
from nas.searching.objectives import STANDALONE
from nas.settings import Settings
from nas.teamwork import check_team, train_together
from nas.train import train_supernet
from nas.trials import rank_subnets, tune
from nas.winners import chosen, latencies, measured, named, retrain_all, retrained

CARD, DEVICE, OPERATORS = "profile/card.json", "profile/device.json", "profile/operators.json"
LENGTHS = "profile/lengths.json"
TIMED = ("run", "profile", "search")
CHAIN = ("train", "rank", "profile", "fit", "search", "retrain", "export", "report")


def call(stage: str, asked: Settings, overrides: Sequence[str], *, text_only: bool = False) -> None:
    """Runs a stage, or all of them, in the run folder of the settings, which a tuning's own settings leave alone."""
    job = Job(Run.at(asked.run.dir), asked)
    if text_only:
        show(report.text(job.run, terminal_width()))
        return
    if stage in TIMED:
        asked.profile.engine()  # a runtime that is not there must not cost a training first
    if stage in ("run", "retrain"):
        named(job)  # nor a reference that the space does not have
    record = f"tune/{asked.tune.name}/run.json" if stage == "tune" else "run.json"
    before = job.run.read_json(record, {})
    _introduce(job.run, record, before, asked, overrides)
    names = [name for name in CHAIN if _is_due(job, name)] if stage == "run" else [stage]
    for name in names:
        try:
            with job.run.stage(name), looking_on(name, job):
                STAGES[name](job)
        except NasError:
            if name == names[0]:
                job.run.write_json(record, before)  # what was refused at once must not stick to the run
                if not before:
                    job.run.withdraw()
            raise


def train(job: Job) -> None:
    """The supernet."""
    cfg = job.settings
    check_team(cfg.train, cfg.team)

    def together() -> None:
        train_together(job.run, cfg.space, cfg.data, cfg.train, cfg.team, seed=cfg.run.seed)

    shared = together if cfg.team.workers > 1 else None
    train_supernet(job.run, cfg.space, job.dataset, cfg.train, seed=cfg.run.seed, together=shared)
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
    cfg = job.settings.profile
    everything = device_rows(cfg.tables(job.run), cfg.fingerprint())
    job.run.write_json(LENGTHS, over_sizes(everything, job.net.space, like=job.measured[0]))
    if lost := losers(best):
        say(f"fit       nowhere faster than softmax on this device: {', '.join(lost)}")


def search(job: Job) -> None:
    """The archive, then the front, measured and scored on all of val."""
    cfg, limits, task = job.settings.search, job.settings.constraints, job.task
    problem = job.problem  # what cannot be searched must not claim the name
    job.claim_search()
    archive, front = (job.run.path / f"search/{cfg.name}" / name for name in ("archive.jsonl", "front.json"))
    outcome = run_search(job.run, problem, job.net, task, job.dataset.searchable(), cfg, expect=job.correction)
    if front.exists() and front.stat().st_mtime >= archive.stat().st_mtime:
        say(report.front_table(job.run))
        return
    rows = finish_front(
        problem,
        outcome.evaluations,
        metric=task.metric.name,
        measure=lambda archs: measured(job, archs),
        rescore=lambda archs: [job.scored(arch) for arch in archs],
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
    """Winners alone, references beside them, and their test scores."""
    retrain_all(job)
    if table := report.alone_table(job.run):
        say(table)


def export_winners(job: Job) -> None:
    """Winners with the weights of their finished retraining, or with inherited ones."""
    archs = chosen(job)
    for arch, (median, _) in latencies(job, archs).items():
        folder, latency = job.run.path / "export" / arch.digest, {"latency_ms": median}
        card = export(retrained(job, arch) or job.net, arch, folder, job.settings.export, latency=latency)
        job.run.record({f"export.{arch.digest}.{name}": value for name, value in card.parity.items()})
        say(f"export    {arch.digest}  {folder}")


def write_report(job: Job) -> None:
    """The page."""
    others = [Path(folder).expanduser() for folder in job.settings.report.compare]
    if missing := [str(folder) for folder in others if not folder.is_dir()]:
        raise ConfigError(f"report.compare must be folders of runs; there is no {', '.join(missing)}")
    say(f"report    {report.write(job.run, [Run.at(folder) for folder in others])}")


STAGES: dict[str, Callable[[Job], None]] = {
    "train": train,
    "profile": profile,
    "fit": fit,
    "search": search,
    "retrain": retrain_winners,
    "export": export_winners,
    "report": write_report,
    "tune": tune,
    "rank": rank_subnets,
}


def _is_due(job: Job, stage: str) -> bool:
    """Whether a chain does a stage: the ranking if the search goes by it, and no measurements that would move the
    predictions under a search."""
    if stage == "rank":
        return STANDALONE in job.settings.search.objectives
    return stage not in ("profile", "fit") or not (job.run.path / CARD).exists()


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
