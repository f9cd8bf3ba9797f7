"""Ray Tune as a runner of jobs: starts or restores an experiment in a folder, without its tables and its signals."""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

from nas.presence import PROGRESS
from nas.progress import track, watching
from nas.run import write_atomic
from nas.searching.cluster import connect, import_ray, options
from nas.tuning.settings import TuneConfig

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # its tables cannot be turned off, the old ones can
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would end with code 0
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
STEP_S = 1.0

Trial = Callable[[Mapping[str, Any]], None]
"""What runs in a process of its own; it is given `folder` and `label`."""
Done = Callable[[str], float]
"""Label -> share of the trial that is done."""


def run_trials(
    folder: Path,
    labels: Sequence[str],
    trial: Trial,
    config: TuneConfig,
    done: Done,
    mode: str | None = None,
    *,
    stage: str = "tune",
) -> dict[str, str]:
    """Runs the trials, or what an earlier call left of them; the reasons of those that failed, by label.

    folder: on a disk that all nodes share; trials that have finished are not run again, others are called again and go
    on from what they left in it
    mode: "max" or "min" of the values that trials report, to stop some by them
    stage: whose trials they are, for people
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray, owned = import_ray(), False
    try:
        if owned := not ray.is_initialized():
            connect(ray, _at_once(config, len(labels)), config.ray, section=stage)
        with _own_termination(), _quiet(), _watched(folder, labels, done, stage):
            results = _tuner(folder, labels, trial, config, mode).fit()
        return {Path(result.path).name: _reason(result.error) for result in results if result.error is not None}
    finally:
        if owned:
            ray.shutdown()


def report(row: Mapping[str, Any]) -> None:
    """In a trial: hands a row over; does not return if the trial is to be stopped."""
    from ray import tune

    tune.report(dict(row))


def _tuner(folder: Path, labels: Sequence[str], trial: Trial, config: TuneConfig, mode: str | None) -> Any:
    from ray import tune

    asked = options(config.ray)
    needs = {"CPU": asked["num_cpus"], "GPU": asked["num_gpus"], **asked.get("resources", {})}
    trainable = tune.with_resources(trial, tune.PlacementGroupFactory([needs]))
    if tune.Tuner.can_restore(str(folder)):
        return tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True, resume_errored=True)
    return tune.Tuner(
        trainable,
        param_space={"folder": str(folder), "label": tune.grid_search(list(labels))},
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(folder, config, mode),
            max_concurrent_trials=config.max_concurrent,
            trial_name_creator=_label,
            trial_dirname_creator=_label,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=config.ray.retries),
            verbose=0,
        ),
    )


def _scheduler(folder: Path, config: TuneConfig, mode: str | None) -> Any:
    from nas.tuning.asha import RememberingAsha

    return None if mode is None else RememberingAsha(folder, config.asha, mode)


def _label(trial: Any) -> str:
    return str(trial.config["label"])


def _at_once(config: TuneConfig, count: int) -> int:
    """Trials at a time on this machine, which a Ray started here is given room for."""
    cores = os.cpu_count() or 1
    return min(count, config.max_concurrent or max(1, int(cores / max(config.ray.num_cpus, 1.0))))


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"


@contextmanager
def _own_termination() -> Iterator[None]:
    """Lets the program's answer to SIGTERM through: Ray turns any exit that a signal raises inside its calls into
    one with code 1, but for an interrupt."""
    before, seen = signal.getsignal(signal.SIGTERM), list[tuple[int, FrameType | None]]()

    def interrupt(signum: int, frame: FrameType | None) -> None:
        seen.append((signum, frame))
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if seen and callable(before):
            before(*seen[0])
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune prints a line for every trial and reports errors at length, whatever its settings; they come as reasons."""
    log = logging.getLogger("ray.tune")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        log.setLevel(before)


@contextmanager
def _watched(folder: Path, labels: Sequence[str], done: Done, stage: str) -> Iterator[None]:
    """Shows how far the trials are, from what they have written; on the way because Tune holds the main thread."""
    folder.mkdir(parents=True, exist_ok=True)
    with track(stage, len(labels), "trials") as tracker:

        def look() -> None:
            shares = [done(label) for label in labels]
            write_atomic(folder / PROGRESS, json.dumps({"done": sum(shares), "total": len(labels)}).encode())
            tracker.set(sum(shares), f"{sum(share >= 1 for share in shares)} ended")

        with watching(look, STEP_S):
            yield
