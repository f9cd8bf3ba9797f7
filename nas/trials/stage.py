"""The stage itself: refuse what cannot be done, run what is left, compare what there is."""

import json
from typing import Any

from nas.errors import CheckpointError
from nas.job import Job
from nas.progress import say
from nas.report.summary import columns
from nas.searching import cluster
from nas.train import weights_digest
from nas.trials.contract import Trials
from nas.trials.retrain import RetrainTrials, retrain_trial
from nas.trials.search import SearchTrials, search_trial
from nas.tuning.tuner import run_trials

KINDS = {"search": (SearchTrials, search_trial), "retrain": (RetrainTrials, retrain_trial)}


def tune(job: Job) -> None:
    """Compares jobs of the run: trials in `tune/<name>/`, their comparison in `table.json` there and on the console.

    On several machines the run folder must be one that they share, under the same path.
    """
    cfg = job.settings.tune
    kind, function = KINDS[cfg.job]
    trials = kind(job)
    _claim(job, trials)
    folder = job.run.path / trials.folder
    failed = run_trials(folder, list(trials.asked), function, cfg, trials.done, trials.mode)
    rows, cells = trials.compare([label for label in trials.asked if label not in failed])
    job.run.write_json(
        f"{trials.folder}/table.json",
        {
            "job": cfg.job,
            "rows": rows,
            "failed": [{"trial": label, "reason": reason} for label, reason in failed.items()],
        },
    )
    for line in _lines(rows, cells, failed):
        say(line)
    say(f"tune      {folder / 'table.json'}")


def _claim(job: Job, trials: Trials) -> None:
    """Settles what this name stands for; `CheckpointError` if that was something else."""
    asked: dict[str, Any] = {
        "format": 1,
        "job": job.settings.tune.job,
        "supernet": weights_digest(job.run),
        "threads": cluster.threads(job.settings.tune.ray),
        "trials": trials.asked,
    }
    name = f"{trials.folder}/asked.json"
    before = job.run.read_json(name)
    if before is not None and (changed := _changed(before, json.loads(json.dumps(asked)))):
        raise CheckpointError(
            f"tuning {job.settings.tune.name!r} of this run was started with another {changed}: give this one a name "
            "of its own, tune.name=other"
        )
    job.run.write_json(name, asked)


def _changed(before: dict[str, Any], asked: dict[str, Any]) -> str:
    """What differs, in words of the settings."""
    if wrong := [key for key in ("job", "supernet") if before[key] != asked[key]]:
        return " and ".join(wrong)
    known, wanted = before["trials"], asked["trials"]
    if set(known) != set(wanted):
        return f"tune.over or tune.archs ({len(known)} trials then, {len(wanted)} now)"
    differing = (label for label in wanted if known[label] != wanted[label])
    return next((_difference(known[label], wanted[label]) for label in differing), "")


def _difference(before: dict[str, Any], asked: dict[str, Any]) -> str:
    one, other = before["settings"], asked["settings"]
    keys = [f"{name}.{key}" for name in other for key in other[name] if one.get(name, {}).get(key) != other[name][key]]
    return ", ".join(keys) or "table of latencies, or tune.asha"


def _lines(rows: list[dict[str, Any]], cells: list[list[str]], failed: dict[str, str]) -> list[str]:
    lines = [columns(cells, right=range(1, len(cells[0])))] if rows else []
    if len({row.get("problem") for row in rows}) > 1:
        lines.append("devices, limits or objectives differ: hypervolumes compare within the same of them only")
    return lines + [f"failed    {label}: {reason}" for label, reason in failed.items()]
