"""Stage `retrain`: one arch as a network of its own, from scratch or from inherited weights."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field

from nas.arch import Arch
from nas.config import config
from nas.data.contract import Dataset
from nas.run import Run
from nas.supernet import Subnet, Supernet, extract
from nas.tasks import of
from nas.train.checkpoint import load_state
from nas.train.evaluate import evaluate
from nas.train.loop import TrainConfig, Trainer, fit
from nas.train.plan import Alone


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
    torch.manual_seed(seed)
    alone = extract(net, arch) if config.start == "inherited" else Subnet(net.narrowed(arch), arch)
    trainer = Trainer(alone.net, task, dataset.train, Alone(arch), _settings(config, training), seed)
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
    return replace(training, steps=config.steps or training.steps, lr=lr, distill_weight=0.0)
