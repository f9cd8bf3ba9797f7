"""Scoring an arch with inherited weights on validation data."""

from dataclasses import dataclass

import torch

from nas.arch import Arch
from nas.data import Dataset, Examples
from nas.searching.objectives import Values
from nas.supernet import Supernet
from nas.tasks import Task
from nas.train import evaluate


@dataclass(frozen=True)
class SupernetScorer:
    """The task's metric of a subnet on the first `limit` validation examples; all of them if `limit` is None."""

    net: Supernet
    task: Task
    val: Examples
    batch_size: int = 128
    limit: int | None = None

    @classmethod
    def of(
        cls, net: Supernet, task: Task, data: Dataset, *, batch_size: int = 128, limit: int | None = None
    ) -> "SupernetScorer":
        """A scorer that holds nothing of the data but its validation split."""
        return cls(net.eval().requires_grad_(False), task, data.val, batch_size, limit)

    def __call__(self, arch: Arch) -> Values:
        """The metric under its name."""
        torch.set_num_threads(1)
        value = evaluate(self.net, arch, self.task, self.val, batch_size=self.batch_size, limit=self.limit)
        return {self.task.metric.name: value}
