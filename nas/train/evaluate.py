"""The task's metric of one arch, on inherited weights."""

import torch

from nas.arch import Arch
from nas.data.contract import Examples
from nas.supernet import Supernet, evaluating
from nas.tasks.contract import Task


def evaluate(
    net: Supernet,
    arch: Arch,
    task: Task,
    examples: Examples,
    *,
    batch_size: int = 64,
    limit: int | None = None,
    device: torch.device | str = "cpu",
) -> float:
    """The metric over the first `limit` examples, summed exactly over batches; the network's mode is left as it was."""
    count = min(limit or len(examples), len(examples))
    total, seen = 0.0, 0
    with evaluating(net), torch.inference_mode():
        for index in torch.split(torch.arange(count), batch_size):
            inputs, targets = task.prepare(examples, index, torch.device(device))
            amount, weight = task.tally(net(inputs, arch), targets)
            total, seen = total + amount, seen + weight
    return task.finish(total, seen)
