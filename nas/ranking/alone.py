"""Standalone results that runs share: what a net reaches alone depends on its training and never on a supernet.

<recipe>.json    what the trainings had in common, for people
<recipe>.jsonl   a row for each arch and seed that was trained
<recipe>/        unfinished trainings, which any run goes on with
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch

from nas.arch import Arch
from nas.data.contract import Dataset
from nas.journal import Log, held
from nas.ranking.proxy import proxies
from nas.ranking.settings import RankConfig
from nas.run import Run
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.space.space import Frame
from nas.supernet import Supernet
from nas.tasks import of
from nas.train import RetrainConfig, TrainConfig, evaluate, fit, standalone

FORMAT = 2
Row = Mapping[str, Any]
Key = tuple[str, int]
"""Digest of an arch, and a seed."""


@dataclass(frozen=True)
class Recipe:
    """All that a standalone result depends on, beside arch and seed."""

    data: str
    shape: TaskShape
    frame: Frame
    training: TrainConfig
    supernet: str | None = None
    """Digest of the weights that trainings start from; None: from scratch."""

    @classmethod
    def of(cls, config: RankConfig, training: TrainConfig, dataset: Dataset, frame: Frame) -> "Recipe":
        """As the settings ask for it: from scratch, like the supernet but for its own recipe."""
        steps, lr = config.steps or training.steps, config.lr or training.lr
        own = replace(training, steps=steps, lr=lr, batch_size=config.batch_size or training.batch_size)
        return cls(dataset.digest, dataset.shape, frame, own)

    def shortened(self, steps: int, supernet: str | None) -> "Recipe":
        """The same with so many steps, from these weights."""
        return replace(self, training=replace(self.training, steps=steps), supernet=supernet)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the content."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        frame = {key: value for key, value in asdict(self.frame).items() if key != "name"}
        known = {"format": FORMAT, "data": self.data, "shape": asdict(self.shape), "frame": frame}
        start = {} if self.supernet is None else {"supernet": self.supernet}
        return {**known, "train": self.training.decisive(), **start}


@dataclass(frozen=True, slots=True)
class Standalone:
    """The shared results of one recipe."""

    folder: Run
    recipe: Recipe

    @property
    def log(self) -> Log:
        """Where finished trainings are kept."""
        return self.folder.log(f"{self.recipe.digest}.jsonl")

    def rows(self) -> dict[Key, Row]:
        """The finished trainings."""
        return {(row["digest"], row["seed"]): row for row in self.log.rows()}

    def done(self, digest: str, seed: int) -> float:
        """The share of a training that is on disk; it may be another run's."""
        rows = self.folder.log(f"{self._place(digest, seed)}/log.jsonl").rows()
        return min(1.0, (rows[-1]["step"] + 1) / self.recipe.training.steps) if rows else 0.0

    def train(
        self, space: SearchSpace, arch: Arch, seed: int, dataset: Dataset, supernet: Supernet | None = None
    ) -> Row:
        """The arch's row: found, or trained on train from where a killed process stopped, scored on val.

        supernet: that of the recipe, if it has one
        A value of None is a metric that is no number, which a diverged training has.
        """
        place = self._place(arch.digest, seed)
        # another run may be at the same training, and both would write its state
        with held(self.folder.file(f"{place}/lock")):
            if (known := self.rows().get((arch.digest, seed))) is not None:
                return known
            self.folder.write_json(f"{self.recipe.digest}.json", self.recipe.to_dict())
            row = self._trained(space, arch, seed, dataset, supernet)
            self.log.append(row)
        (self.folder.path / place / "state.pt").unlink(missing_ok=True)
        return self.rows()[arch.digest, seed]

    def _trained(
        self, space: SearchSpace, arch: Arch, seed: int, dataset: Dataset, supernet: Supernet | None
    ) -> dict[str, Any]:
        start, training, task = time.monotonic(), self.recipe.training, of(dataset)
        # a network of a space of one arch, so that nothing of the supernet, such as its sharing, reaches it
        alone = Supernet(space.only(arch), dataset.shape)
        torch.manual_seed(seed)
        fresh = alone.narrowed(arch)
        signs = proxies(fresh, arch, task, dataset.train, batch_size=training.batch_size, seed=seed)
        config = RetrainConfig(start="scratch" if supernet is None else "inherited")
        trainer = standalone(supernet or alone, arch, dataset, config, training, seed=seed)
        fit(trainer, self.folder, self._place(arch.digest, seed))
        value = evaluate(trainer.net, arch, task, dataset.val, device=trainer.device)
        return {
            "digest": arch.digest,
            "arch": arch.to_dict(),
            "seed": seed,
            "metric": task.metric.name,
            "value": value,
            "proxies": signs,
            "torch": torch.__version__,
            "seconds": round(time.monotonic() - start, 2),
        }

    def _place(self, digest: str, seed: int) -> str:
        return f"{self.recipe.digest}/{digest}-{seed}"
