"""The numbers of a log as TensorBoard scalars: `tensorboard --logdir RUN/tensorboard`, without any conversion."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.journal import Row


class Scalars:
    """Takes the rows of a log from its first one on, and writes their numbers into a folder of its own.

    What an earlier process wrote there is replaced, since it was told of the same rows.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        self._step = 0

    def __call__(self, rows: Sequence[Row]) -> None:
        """Writes training rows at their step and evaluations one after the other."""
        for row in rows:
            if "claim" in row or "journal" in row:
                continue
            step = row["step"] if isinstance(row.get("step"), int) else self._step
            for name, value in numbers(row).items():
                self._writer.add_scalar(name.replace(".", "/"), value, step)
            self._step = step + 1
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def numbers(row: Row) -> dict[str, float]:
    """The finite numbers of a row but its step, those of `values` under their own names."""
    nested = row.get("values")
    found: dict[str, Any] = {**row, **(nested if isinstance(nested, dict) else {})}
    return {
        name: float(value)
        for name, value in found.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
