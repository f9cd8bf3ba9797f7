"""Associative recall: the share of asked keys whose value the net names; all other positions are free."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.contract import Dataset, Examples
from nas.tasks.contract import Metric, Task, prepare_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(Task):
    """Tokens `[B, T]` to the value of each asked key; only the asked positions are trained and scored."""

    def prepare(self, examples: Examples, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens and labels, both int64 `[B, T]`; labels are -100 where nothing is asked."""
        return prepare_tokens(examples, index, device)


def build(dataset: Dataset) -> Recall:
    """The task of `dataset`."""
    return Recall(shape=dataset.shape, metric=Metric("accuracy", "maximise"))
