"""Stage `retrain`: one arch as a network of its own, from scratch or from inherited weights, under several seeds.

retrain/<arch>/asked.json          the settings that all its trainings share
retrain/<arch>/seed_<n>/           state and log of one training;  result.json is written last, and is final
retrain/<arch>/result.json         all finished seeds together
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from nas.arch import Arch
from nas.config import config
from nas.data.contract import Dataset, Examples
from nas.errors import CheckpointError
from nas.run import Run
from nas.supernet import Subnet, Supernet, extract
from nas.tasks import of
from nas.train.checkpoint import WEIGHTS, load_state, weights_digest
from nas.train.config import TrainConfig
from nas.train.evaluate import evaluate
from nas.train.loop import fit
from nas.train.plan import Alone
from nas.train.recipe import Part, plain
from nas.train.trainer import Teacher, Trainer

Seed = Annotated[int, Field(ge=0)]
Result = dict[str, Any]


@config
class RetrainConfig:
    """How winners are trained alone. Unset settings are those of the supernet's training."""

    count: Annotated[int, Field(ge=1)] = 2
    """Archs of the front to retrain: the best, the balanced one, then the others by quality."""
    archs: tuple[str, ...] = ()
    """Digests to retrain instead."""
    references: tuple[str, ...] = ()
    """Hand-made references to train in the same way, by name (`search_spaces/presets/`), or `all`."""
    seeds: tuple[Seed, ...] | None = None
    """One training for each; None is the run's seed alone."""
    start: Literal["scratch", "inherited"] = "inherited"
    teacher: Literal["none", "largest"] = "none"
    """Whose output is mixed into the targets: nobody's, or that of the supernet's largest subnet, frozen."""
    distill_weight: Part = 0.5
    """Share of the teacher in the loss."""
    steps: Annotated[int, Field(ge=1)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError(f"seeds must be different numbers, at least one, or null for the run's; got {self.seeds}")


def asked_of(run: Run, dataset: Dataset, config: RetrainConfig, training: TrainConfig) -> Result:
    """What a retraining's result depends on beside arch and seed."""
    weight = config.distill_weight if config.teacher != "none" else None
    mine = {"start": config.start, "teacher": config.teacher, "distill_weight": weight}
    supernet = weights_digest(run) if (run.path / WEIGHTS).exists() else None
    return {**mine, **_settings(config, training).decisive(), "data": dataset.digest, "supernet": supernet}


def check_asked(run: Run, arch: Arch, asked: Mapping[str, Any]) -> None:
    """`CheckpointError` if the arch's trainings in the run, finished or not, were asked for with other settings."""
    folder = f"retrain/{arch.digest}"
    known = run.read_json(f"{folder}/asked.json") or run.read_json(f"{folder}/result.json")
    if known is not None and (changed := [key for key in asked if known.get(key) != asked[key]]):
        raise CheckpointError(
            f"{arch.digest} was retrained with other settings "
            f"({', '.join(f'{key} {known.get(key)}' for key in changed)}): "
            f"delete {run.path / folder} to retrain it, or drop the override"
        )


def retrain(
    run: Run,
    net: Supernet,
    arch: Arch,
    dataset: Dataset,
    config: RetrainConfig,
    training: TrainConfig,
    *,
    seeds: Sequence[int],
) -> Result:
    """The arch trained alone under each seed, less those that were before; `result.json` of all finished ones.

    A seed's result is val and, once and last, test.
    """
    asked, folder = asked_of(run, dataset, config, training), f"retrain/{arch.digest}"
    check_asked(run, arch, asked)
    run.write_json(f"{folder}/asked.json", asked)
    todo = [seed for seed in seeds if run.read_json(f"{_place(arch, seed)}/result.json") is None]
    for seed in todo:
        trainer = standalone(net, arch, dataset, config, training, seed=seed)
        run.write_json(f"{_place(arch, seed)}/result.json", _trained(run, trainer, arch, dataset, seed))
    rows, known = finished_seeds(run, arch), run.read_json(f"{folder}/result.json")
    if known is not None and known["seeds"] == [row["seed"] for row in rows]:
        return dict(known)
    task = of(dataset)
    result = {
        **(known or {}),  # what others have added stays true with more seeds
        "digest": arch.digest,
        "arch": arch.to_dict(),
        "metric": task.metric.name,
        **asked,
        "inherited_val": evaluate(net, arch, task, dataset.val),
        **pooled(rows, is_maximised=task.metric.direction == "maximise"),
    }
    run.write_json(f"{folder}/result.json", result)
    return result


def finished_seeds(run: Run, arch: Arch) -> list[Result]:
    """The results of the arch's finished trainings, by seed."""
    files = (run.path / "retrain" / arch.digest).glob("seed_*/result.json")
    found = [run.read_json(str(path.relative_to(run.path))) for path in files]
    return sorted(found, key=lambda row: int(row["seed"]))


def pooled(rows: Sequence[Mapping[str, Any]], *, is_maximised: bool) -> Result:
    """Means over seeds, standard deviations (None of a single seed), and the seed with the best val."""
    values = {split: [row[split] for row in rows] for split in ("val", "test")}
    best = (max if is_maximised else min)(rows, key=lambda row: float(row["val"]))
    return {
        "seeds": [row["seed"] for row in rows],
        "best_seed": best["seed"],
        **{split: statistics.fmean(known) for split, known in values.items()},
        **{f"{split}_std": statistics.stdev(known) if len(rows) > 1 else None for split, known in values.items()},
        "runs": [dict(row) for row in rows],
    }


def standalone(
    net: Supernet, arch: Arch, dataset: Dataset, config: RetrainConfig, training: TrainConfig, *, seed: int
) -> Trainer:
    """The arch as a network of its own, about to be trained."""
    torch.manual_seed(seed)
    alone = extract(net, arch).net if config.start == "inherited" else net.narrowed(arch)
    settings = _settings(config, training)
    teacher = _teacher(net, settings.device) if config.teacher == "largest" else None
    return Trainer(alone, of(dataset), dataset.train, Alone(arch), settings, seed, teacher)


def fit_watched(
    trainer: Trainer, run: Run, folder: str, arch: Arch, val: Examples, marks: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Trains to each mark, a share of the steps, and then yields it with the metric on val; whoever has seen enough
    stops asking. A killed training goes on from its state."""
    for mark in marks:
        fit(trainer, run, folder, until=math.ceil(mark * trainer.config.steps))
        yield mark, evaluate(trainer.net, arch, trainer.task, val, device=trainer.device)


def load_retrained(run: Run, net: Supernet, arch: Arch) -> Supernet | None:
    """The network that `retrain` left for the arch, of the seed with the best val; None if it was not retrained."""
    result = run.read_json(f"retrain/{arch.digest}/result.json")
    state = None if result is None else load_state(run, f"{_place(arch, result['best_seed'])}/state.pt")
    if state is None:
        return None
    alone = net.narrowed(arch)
    alone.load_state_dict(state["net"])
    return alone.eval()


def _trained(run: Run, trainer: Trainer, arch: Arch, dataset: Dataset, seed: int) -> Result:
    fit(trainer, run, _place(arch, seed))
    trainer.net.cpu()
    scores = {"val": dataset.val, "test": dataset.test}
    return {"seed": seed, **{name: evaluate(trainer.net, arch, trainer.task, part) for name, part in scores.items()}}


def _teacher(net: Supernet, device: str) -> Teacher:
    """A copy of the largest subnet, so that the supernet stays where it is."""
    alone = extract(net, net.space.largest()).to(device).eval().requires_grad_(False)
    return Subnet(alone.net, alone.arch)


def _place(arch: Arch, seed: int) -> str:
    return f"retrain/{arch.digest}/seed_{seed}"


def _settings(config: RetrainConfig, training: TrainConfig) -> TrainConfig:
    lr = config.lr or training.lr * (0.3 if config.start == "inherited" else 1.0)
    recipe = plain(config.distill_weight) if config.teacher != "none" else plain()
    return replace(training, steps=config.steps or training.steps, lr=lr, recipe=recipe)
