"""Stage `retrain`: one arch as a network of its own, from scratch or from inherited weights."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from nas.arch import Arch
from nas.config import config
from nas.data.contract import Dataset, Examples
from nas.run import Run
from nas.supernet import Subnet, Supernet, extract
from nas.tasks import of
from nas.train.checkpoint import load_state
from nas.train.config import TrainConfig
from nas.train.evaluate import evaluate
from nas.train.loop import fit
from nas.train.plan import Alone
from nas.train.recipe import plain
from nas.train.trainer import Trainer


@config
class RetrainConfig:
    """How winners are trained alone. Unset settings are those of the supernet's training."""

    count: Annotated[int, Field(ge=1)] = 2
    """Archs of the front to retrain: the best, the balanced one, then the others by quality."""
    archs: tuple[str, ...] = ()
    """Digests to retrain instead."""
    start: Literal["scratch", "inherited"] = "inherited"
    steps: Annotated[int, Field(ge=1)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None


def retrain(
    run: Run, net: Supernet, arch: Arch, dataset: Dataset, config: RetrainConfig, training: TrainConfig, *, seed: int
) -> Subnet:
    """The arch trained alone, kept in `retrain/<digest>/`; val and, once and last, test go into `result.json`."""
    folder, task = f"retrain/{arch.digest}", of(dataset)
    trainer = standalone(net, arch, dataset, config, training, seed=seed)
    alone = Subnet(trainer.net, arch)
    fit(trainer, run, folder)
    alone.net.cpu()
    inherited = evaluate(net, arch, task, dataset.val)
    run.write_json(
        f"{folder}/result.json",
        {
            "digest": arch.digest,
            "arch": arch.to_dict(),
            "metric": task.metric.name,
            "start": config.start,
            "steps": trainer.config.steps,
            "lr": trainer.config.lr,
            "seeds": [seed],
            "inherited_val": inherited,
            "val": evaluate(alone.net, arch, task, dataset.val),
            "test": evaluate(alone.net, arch, task, dataset.test),
        },
    )
    return alone


def standalone(
    net: Supernet, arch: Arch, dataset: Dataset, config: RetrainConfig, training: TrainConfig, *, seed: int
) -> Trainer:
    """The arch as a network of its own, about to be trained."""
    torch.manual_seed(seed)
    alone = extract(net, arch).net if config.start == "inherited" else net.narrowed(arch)
    return Trainer(alone, of(dataset), dataset.train, Alone(arch), _settings(config, training), seed)


def fit_watched(
    trainer: Trainer, run: Run, folder: str, arch: Arch, val: Examples, marks: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Trains to each mark, a share of the steps, and then yields it with the metric on val; whoever has seen enough
    stops asking. A killed training goes on from its state."""
    for mark in marks:
        fit(trainer, run, folder, until=math.ceil(mark * trainer.config.steps))
        yield mark, evaluate(trainer.net, arch, trainer.task, val, device=trainer.device)


def load_retrained(run: Run, net: Supernet, arch: Arch) -> Supernet | None:
    """The network that `retrain` left for the arch; None if it was not retrained."""
    state = load_state(run, f"retrain/{arch.digest}/state.pt")
    if state is None:
        return None
    alone = net.narrowed(arch)
    alone.load_state_dict(state["net"])
    return alone.eval()


def _settings(config: RetrainConfig, training: TrainConfig) -> TrainConfig:
    lr = config.lr or training.lr * (0.3 if config.start == "inherited" else 1.0)
    return replace(training, steps=config.steps or training.steps, lr=lr, recipe=plain())
