"""The task's metric and the loss of one arch, on inherited weights."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from nas.arch import Arch
from nas.data.contract import Examples
from nas.supernet import Supernet, evaluating
from nas.tasks.contract import LOSS, Task, summed_nats

Tally = Callable[[Tensor, Tensor], tuple[float, ...]]
"""Logits and targets -> what is added up over batches."""


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
    index = torch.arange(min(limit or len(examples), len(examples)))
    total, seen = _summed(net, arch, task, examples, task.tally, torch.split(index, batch_size), torch.device(device))
    return task.finish(total, int(seen))


def scores(net: Supernet, arch: Arch, task: Task, examples: Examples, *, batch_size: int = 64) -> dict[str, float]:
    """The metric under its name and the `loss`, over all examples."""

    def both(logits: Tensor, targets: Tensor) -> tuple[float, ...]:
        return (*task.tally(logits, targets), summed_nats(logits, targets))

    batches = torch.split(torch.arange(len(examples)), batch_size)
    total, seen, nats = _summed(net, arch, task, examples, both, batches, torch.device("cpu"))
    return {task.metric.name: task.finish(total, int(seen)), LOSS: nats / seen if seen else float("nan")}


def _summed(
    net: Supernet,
    arch: Arch,
    task: Task,
    examples: Examples,
    tally: Tally,
    batches: Iterable[Tensor],
    device: torch.device,
) -> list[float]:
    sums: list[tuple[float, ...]] = []
    with evaluating(net), torch.inference_mode():
        for index in batches:
            inputs, targets = task.prepare(examples, index, device)
            sums.append(tally(net(inputs, arch), targets))
    return [sum(column) for column in zip(*sums, strict=True)]
