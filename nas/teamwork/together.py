"""Data-parallel training: every process takes its part of each batch and makes the same update as all others.

Archs of a step are a function of (seed, step), so no process tells another which subnets it trains, and one that was
lost is replaced by any other that reads the state in the run folder.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from nas import data
from nas.errors import ConfigError, NasError
from nas.progress import track, watching
from nas.run import Run
from nas.searching import cluster
from nas.space import load_space
from nas.teamwork.settings import TeamConfig
from nas.train import TrainConfig, fit, supernet_trainer
from nas.train.checkpoint import STATE
from nas.train.loop import short
from nas.train.team import Team

FOLDER, LOG = "supernet", "supernet/log.jsonl"
ENVIRONMENT = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_V2_ENABLED": "1"}
LOOK_S = 1.0
BACKENDS = "cpu:gloo,cuda:nccl"
"""With GPUs: gradients lie there, figures of the log on the CPU."""
OnLog = Callable[[dict[str, Any]], None]


def train_together(
    run: Run,
    space: Mapping[str, Any],
    data_config: data.DataConfig,
    config: TrainConfig,
    team: TeamConfig,
    *,
    seed: int,
    on_log: OnLog | None = None,
) -> None:
    """Trains to the last step in the run folder, which all nodes must share under the same path.

    Raises:
        NasError: If training failed more often than `team.ray.retries`.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray, owned = cluster.import_ray(), False
    asked = {"run": str(run.path), "space": space, "data": data_config, "config": config, "seed": seed}
    try:
        if owned := not ray.is_initialized():
            cluster.connect(ray, team.workers, team.ray, section="team")
        with _watched(run, config.steps, on_log):
            _fit({**asked, "threads": cluster.threads(team.ray)}, run, team)
    finally:
        if owned:
            ray.shutdown()


def check_team(config: TrainConfig, team: TeamConfig) -> None:
    """`ConfigError` if the batch does not divide among the processes."""
    if config.batch_size % team.workers:
        raise ConfigError(
            f"train.batch_size must be a multiple of team.workers, so that every process has equal parts; got "
            f"{config.batch_size} and {team.workers}: change one"
        )


def _fit(asked: Mapping[str, Any], run: Run, team: TeamConfig) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    needs = {"CPU": team.ray.num_cpus, **({"GPU": team.ray.num_gpus} if team.ray.num_gpus else {})}
    trainer = TorchTrainer(
        _member,
        train_loop_config=dict(asked),
        torch_config=TorchConfig(backend=BACKENDS if team.ray.num_gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=team.workers,
            use_gpu=bool(team.ray.num_gpus),
            resources_per_worker={**needs, **team.ray.resources},
        ),
        run_config=RunConfig(
            name="team",
            storage_path=str(run.path / FOLDER),
            failure_config=FailureConfig(max_failures=team.ray.retries),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise NasError(
            f"training on {team.workers} processes failed {team.ray.retries + 1} times, last with: {lines[-1]}; its "
            f"state is kept in {run.path / STATE} and the same command goes on from it"
        ) from error


def _member(asked: Mapping[str, Any]) -> None:
    """What runs in each process."""
    from ray import train

    context = train.get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(asked["threads"])
    dataset = data.load(asked["data"]).searchable()
    trainer = supernet_trainer(load_space(asked["space"]), dataset, asked["config"], seed=asked["seed"], team=team)
    fit(trainer, Run.at(asked["run"]), FOLDER)


@contextmanager
def _watched(run: Run, steps: int, on_log: OnLog | None) -> Iterator[None]:
    """Shows how far the leader is, from what it has logged."""
    log, offset = run.log(LOG), 0
    with track("train", steps, "steps") as tracker:

        def look() -> None:
            nonlocal offset
            rows, offset = log.tail(offset)
            for row in rows:
                tracker.set(row["step"] + 1, short(row))
                if on_log is not None:
                    on_log(row)

        with watching(look, LOOK_S):
            yield
