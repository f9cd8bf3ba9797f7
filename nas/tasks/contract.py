"""What every task gives to training and search: ready tensors, a loss, and a metric that adds up over batches."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.contract import Examples
from nas.shapes import TaskShape

IGNORED = -100
LOSS = "loss"
"""Name of the cross-entropy in nats, a mean over positions, beside that of a metric."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The quality a task is judged by, and which way is better."""

    name: str
    direction: Literal["maximise", "minimise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC):
    """Logits `[..., classes]` against targets `[...]`, of which those equal to -100 carry no signal.

    The last axis of the logits counts classes and the axes before it are those of the targets, so that whatever works
    on the result of `flatten` (distillation, agreement) treats images, texts and recall alike.
    """

    shape: TaskShape
    metric: Metric

    @abstractmethod
    def prepare(self, examples: Examples, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The examples at `index` as network inputs and int64 targets on `device`."""

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Prepared inputs, varied at random in ways that keep the target; the inputs themselves where there is none."""
        del generator
        return inputs

    def distill_mask(self, targets: Tensor) -> Tensor:
        """True at the positions that carry a training signal, in the shape of `targets`."""
        return targets != IGNORED

    def flatten(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[M, classes]` and targets `[M]` of the M positions that carry a signal."""
        mask = self.distill_mask(targets)
        return logits[mask], targets[mask]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats over the positions that carry a signal, a scalar."""
        return F.cross_entropy(*_as_rows(logits, targets), ignore_index=IGNORED)

    def tally(self, logits: Tensor, targets: Tensor) -> tuple[float, int]:
        """The sum to add up over batches, and the number of positions in it; here correct answers."""
        correct = (logits.argmax(dim=-1) == targets) & self.distill_mask(targets)
        return float(correct.sum().item()), self._count(targets)

    def finish(self, total: float, count: int) -> float:
        """The metric over all batches, from the summed tallies; NaN for no positions at all."""
        return total / count if count else float("nan")

    def _count(self, targets: Tensor) -> int:
        return int(self.distill_mask(targets).sum().item())


def _as_rows(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1)


def summed_nats(logits: Tensor, targets: Tensor) -> float:
    """Cross-entropy summed over the positions that carry a signal, accumulated in double precision."""
    nats = F.cross_entropy(*_as_rows(logits, targets), ignore_index=IGNORED, reduction="none")
    return float(nats.sum(dtype=torch.float64).item())


def prepare_tokens(examples: Examples, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and targets, both int64 `[B, T]`; the narrow dtypes widen only on the device."""
    part = examples.take(index)
    return part.inputs.to(device).long(), part.targets.to(device).long()
