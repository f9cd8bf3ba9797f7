"""Byte-level language modelling: how many bits per byte the net needs for text that it has not seen."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.data.contract import Dataset, Examples
from nas.tasks.contract import Metric, Task, prepare_tokens, summed_nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Language(Task):
    """Bytes `[B, T]` to the next byte at every position."""

    def prepare(self, examples: Examples, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Bytes and next bytes, both int64 `[B, T]`."""
        return prepare_tokens(examples, index, device)

    def tally(self, logits: Tensor, targets: Tensor) -> tuple[float, int]:
        """Summed cross-entropy in nats, and the number of predicted bytes."""
        return summed_nats(logits, targets), self._count(targets)

    def finish(self, total: float, count: int) -> float:
        """Bits per byte from summed nats; NaN for no bytes at all."""
        return total / count / math.log(2) if count else float("nan")


def build(dataset: Dataset) -> Language:
    """The task of `dataset`."""
    return Language(shape=dataset.shape, metric=Metric("bits_per_byte", "minimise"))
