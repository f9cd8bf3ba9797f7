"""Tasks: what a data set asks of a net, one file per kind."""

from collections.abc import Callable

from nas.data.contract import Dataset, TaskKind
from nas.tasks import classification, language, recall
from nas.tasks.contract import LOSS, Metric, Task, summed_nats

__all__ = ["LOSS", "Metric", "Task", "of", "summed_nats"]

_BUILDERS: dict[TaskKind, Callable[[Dataset], Task]] = {
    "classification": classification.build,
    "language": language.build,
    "recall": recall.build,
}


def of(dataset: Dataset) -> Task:
    """The task that `dataset` poses; image statistics are read off its train split."""
    return _BUILDERS[dataset.task](dataset)
