"""From how many visits of each image on shifting and mirroring pays: networks alone, as they are and varied.

Trained on parts of train, so that the same steps are few visits or many.

python -m analysis.studies.augmenting EXPERIMENT STEPS IMAGES [IMAGES …] [setting=value …]

Three networks of the experiment's space (the largest of softmax, of a convolution and of linear attention, as far as it
has them), trained from scratch on the first so many images of train, seed 0; mean and range of val.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from analysis.studies.settings import composed
from nas import data
from nas.arch import Arch
from nas.data import Dataset
from nas.data.contract import Examples
from nas.space import SearchSpace, load_space
from nas.supernet import Supernet
from nas.train import RetrainConfig, TrainConfig, evaluate, standalone

FAMILIES = ("softmax", "convolution", "linear")


def main(experiment: str, steps: str, *more: str) -> None:
    settings = composed(f"experiment={experiment}", *(word for word in more if "=" in word))
    space, dataset = load_space(settings.space), data.load(settings.data).searchable()
    archs = [arch for family, arch in space.anchors().items() if family in FAMILIES]
    print(f"{'images':>8}{'visits':>9}" + "".join(f"{name:>24}" for name in ("as they are", "varied")))
    for images in (int(word) for word in more if "=" not in word):
        part = replace(dataset, train=Examples(dataset.train.inputs[:images], dataset.train.targets[:images]))
        training = replace(settings.train, steps=int(steps))
        found = [_values(space, archs, part, replace(training, augment=augment)) for augment in ("never", "always")]
        visits = training.steps * training.batch_size / images
        print(f"{images:>8}{visits:>9.1f}" + "".join(map(_cell, found)), flush=True)


def _values(space: SearchSpace, archs: Sequence[Arch], dataset: Dataset, training: TrainConfig) -> list[float]:
    config, values = RetrainConfig(start="scratch", steps=training.steps), []
    for arch in archs:
        alone = Supernet(space.only(arch), dataset.shape)
        trainer = standalone(alone, arch, dataset, config, training, seed=0)
        for step in range(training.steps):
            trainer.step(step)
        trainer.settle()
        values.append(evaluate(trainer.net, arch, trainer.task, dataset.val))
    return values


def _cell(values: Sequence[float]) -> str:
    mean = f"{sum(values) / len(values):.3f}"
    return f"{f'{mean} [{min(values):.3f}, {max(values):.3f}]':>24}"


if __name__ == "__main__":
    main(*sys.argv[1:])
