"""Image classification: accuracy over images that are normalised by the statistics of train."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.contract import Dataset, Examples
from nas.tasks.contract import Metric, Task

STATISTICS_IMAGES = 10_000
SHIFT_SHARE = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification(Task):
    """Images `[B, C, H, W]` to one of the classes, with the mean and deviation of each channel."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    is_mirrorable: bool

    def prepare(self, examples: Examples, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Float images with mean 0 and deviation 1 per channel, and int64 labels `[B]`."""
        part = examples.take(index)
        mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.deviation))
        return (part.inputs.to(device).float() - mean) / deviation, part.targets.to(device).long()

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Images moved by up to a fourteenth of their side, and half of them mirrored where that keeps the class."""
        moved = _shift(inputs, max(1, inputs.shape[-1] // SHIFT_SHARE), generator)
        if not self.is_mirrorable:
            return moved
        flips = torch.rand(len(moved), generator=generator).to(moved.device) < 0.5
        return torch.where(flips[:, None, None, None], moved.flip(-1), moved)


def build(dataset: Dataset) -> Classification:
    """The task of `dataset`; reads channel statistics off its train split."""
    mean, deviation = _statistics(dataset.train.inputs)
    return Classification(
        shape=dataset.shape,
        metric=Metric("accuracy", "maximise"),
        mean=mean,
        deviation=deviation,
        is_mirrorable=dataset.is_mirrorable,
    )


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel over evenly spaced images of at most some thousands."""
    step = -(-len(images) // STATISTICS_IMAGES)
    deviation, mean = torch.std_mean(images[::step].float(), dim=(0, 2, 3), correction=0)
    # a constant channel has no deviation to divide by
    return tuple(mean.tolist()), tuple(value or 1.0 for value in deviation.tolist())


def _shift(inputs: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Each image moved by its own whole pixels, up to `limit` both ways; the border repeats its edge."""
    count, channels, height, width = inputs.shape
    offsets = torch.randint(2 * limit + 1, (2, count, 1), generator=generator).to(inputs.device)
    rows = offsets[0] + torch.arange(height, device=inputs.device)
    columns = offsets[1] + torch.arange(width, device=inputs.device)
    padded = F.pad(inputs, (limit, limit, limit, limit), mode="replicate")
    taken = padded.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width + 2 * limit))
    return taken.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))
