"""The processes that train one network together: each takes its part of a batch, all make the same update.

Every process runs the same archs of the same step, so the same parameters have gradients in all of them and blocks that
an arch leaves out need no special care: what is averaged is what is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Team:
    """A process's number among so many; one alone has nothing to exchange."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes for all."""
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """Its rows of a batch `[B, …]`: every `size`-th, so that leading rows of the batch are leading rows here."""
        return batch[self.rank :: self.size]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Each figure's mean over the processes."""
        values = torch.tensor(list(figures.values()), dtype=torch.float64)
        self.average([values])
        return dict(zip(figures, values.tolist(), strict=True))


ALONE = Team()
