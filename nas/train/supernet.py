"""Stage `train`: a supernet on a task, from a space."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from nas.arch import Arch
from nas.data.contract import Dataset
from nas.errors import CheckpointError
from nas.run import Run
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet, layout, network_cost
from nas.tasks import of
from nas.train.checkpoint import FORMAT, WEIGHTS, load_supernet, save_supernet
from nas.train.config import TrainConfig
from nas.train.evaluate import evaluate
from nas.train.loop import fit
from nas.train.plan import Sandwich
from nas.train.team import ALONE, Team
from nas.train.trainer import Trainer


def train_supernet(
    run: Run,
    space: Mapping[str, Any],
    dataset: Dataset,
    config: TrainConfig,
    *,
    seed: int,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    together: Callable[[], None] | None = None,
) -> Supernet:
    """The trained supernet, saved in the run; at once if the run has one of this space and these settings.

    together: leaves the state of the finished training in the run, for training in more than this process
    """
    checked, task = load_space(space), of(dataset)
    layout.check(checked, dataset.shape)  # before the folder belongs to this training
    asked = _asked(checked, dataset, config, seed)
    before = run.read_json("supernet/asked.json")
    if before is not None and before != asked:
        raise CheckpointError(_changed(before, asked))
    if before is not None and (run.path / WEIGHTS).exists():
        return load_supernet(run, checked)
    run.write_json("supernet/asked.json", asked)
    if together is not None:
        together()
    trainer = supernet_trainer(checked, dataset, config, seed=seed)
    fit(trainer, run, "supernet", on_log=on_log)
    net = trainer.net
    save_supernet(run, net, space)
    _record(run, net, task.metric.name, evaluate(net, checked.largest(), task, dataset.val, device=config.device))
    return net.cpu()


def supernet_trainer(
    space: SearchSpace, dataset: Dataset, config: TrainConfig, *, seed: int, team: Team = ALONE
) -> Trainer:
    """A fresh supernet of the space, about to be trained by the recipe; the same in every process of a team."""
    torch.manual_seed(seed)
    net = Supernet(space, dataset.shape, sharing=config.recipe.sharing)
    net.start_gains(config.recipe.scale_start)

    def flops(arch: Arch) -> float:
        return network_cost(space.frame, dataset.shape, arch).flops

    plan = Sandwich(space, seed, config.recipe, config.steps, flops)
    return Trainer(net, of(dataset), dataset.train, plan, config, seed, team=team)


def _asked(space: SearchSpace, dataset: Dataset, config: TrainConfig, seed: int) -> dict[str, Any]:
    recipe = {f"recipe.{name}": value for name, value in asdict(config.recipe).items()}
    known = {"format": FORMAT, "space": space.digest, "data": dataset.digest, "seed": seed}
    return {**known, **config.decisive(), **recipe}


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
