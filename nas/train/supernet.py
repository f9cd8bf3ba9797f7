"""Stage `train`: a supernet on a task, from a space."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from nas.data.contract import Dataset
from nas.errors import CheckpointError
from nas.run import Run
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet
from nas.tasks import of
from nas.train.checkpoint import WEIGHTS, load_supernet, save_supernet
from nas.train.evaluate import evaluate
from nas.train.loop import TrainConfig, Trainer, fit
from nas.train.plan import Sandwich

PLACE = ("device", "threads", "log_every", "save_every_s")
"""Settings that say where and how a training runs, not what it gives."""


def train_supernet(
    run: Run,
    space: Mapping[str, Any],
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> Supernet:
    """The trained supernet, saved in the run; at once if the run has one of this space and these settings."""
    checked, task = load_space(space), of(dataset)
    asked = _asked(checked, dataset, config, seed)
    before = run.read_json("supernet/asked.json")
    if before is not None and before != asked:
        raise CheckpointError(_changed(before, asked))
    if before is not None and (run.path / WEIGHTS).exists():
        return load_supernet(run, checked)
    torch.manual_seed(seed)
    net = Supernet(checked, dataset.shape, share=config.share)
    run.write_json("supernet/asked.json", asked)
    fit(
        Trainer(net, task, dataset.train, Sandwich(checked, seed, config.randoms), config, seed),
        run,
        "supernet",
        on_log=on_log,
    )
    save_supernet(run, net, space)
    _record(run, net, task.metric.name, evaluate(net, checked.largest(), task, dataset.val, device=config.device))
    return net.cpu()


def _asked(space: SearchSpace, dataset: Dataset, config: TrainConfig, seed: int) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(config).items() if name not in PLACE}
    return {"space": space.digest, "data": dataset.digest, "seed": seed, **settings}


def _changed(before: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    different = [f"{key}: {before.get(key)} -> {asked[key]}" for key in asked if before.get(key) != asked[key]]
    return (
        f"this run's supernet was trained with other settings ({'; '.join(different)}): "
        "use another run.dir, or drop the override"
    )


def _record(run: Run, net: Supernet, metric: str, value: float) -> None:
    run.record(
        {
            "supernet.params": sum(p.numel() for p in net.parameters()),
            f"supernet.largest.val_{metric}": value,
            "space.size": net.space.size,
            "space.digest": net.space.digest,
        }
    )
