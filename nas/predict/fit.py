"""From the rows of a latency table to a predictor; rebuilt whenever it is needed, the same from the same rows."""

from collections.abc import Sequence

import numpy as np

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.predict.additive import Additive
from nas.predict.contract import PredictConfig
from nas.predict.gaussian import most_telling
from nas.predict.learned import Corrected, correct
from nas.profiling.parts import space_parts
from nas.profiling.table import Row, at_one_pace
from nas.shapes import TaskShape
from nas.space import SearchSpace

FITTED = ("fit", "calibrate")
POOL = 1000
"""Candidates looked at; the work grows with the square of their number."""


def fit_predictor(
    rows: Sequence[Row], space: SearchSpace, shape: TaskShape, config: PredictConfig | None = None
) -> Corrected:
    """The latency predictor of a table's parts and of its nets to fit; held-out nets are not looked at.

    `MeasurementError` if no row is of this space. Bounds come from the nets of split `calibrate` where they are many.
    """
    parts, nets = _of_space(rows, space)
    if not parts and not nets:
        names = ", ".join(sorted({repr(row.space) for row in rows})) or "none"
        raise MeasurementError(
            f"a latency predictor needs measured parts or nets of space {space.frame.name!r}, the table has neither "
            f"(its {len(rows)} rows are of spaces: {names}): run `nas profile`"
        )
    archs, wanted = [row.network() for row in nets], np.array([row.median_ms for row in nets])
    scored = np.array([row.split == "calibrate" for row in nets], dtype=bool)
    return correct(Additive.fit(parts, nets, space, shape), archs, wanted, scored, config or PredictConfig())


def choose(
    rows: Sequence[Row], space: SearchSpace, shape: TaskShape, candidates: Sequence[Arch], count: int
) -> list[Arch]:
    """Up to `count` candidates, those first whose measurement would make the others' predictions surest.

    Rows may be none; with more than a thousand candidates only every so-many-th is looked at.
    """
    parts, nets = _of_space(rows, space)
    additive, wanted = Additive.fit(parts, nets, space, shape), np.array([row.median_ms for row in nets])
    seen = additive.prior.observe(additive.census.table([row.network() for row in nets]), wanted, additive.noise)
    pool = candidates[:: max(1, len(candidates) // max(POOL, count))]
    return [pool[i] for i in most_telling(seen.relative(additive.census.table(pool)), additive.noise, count)]


def _of_space(rows: Sequence[Row], space: SearchSpace) -> tuple[list[Row], list[Row]]:
    paced, keys = at_one_pace(rows), {part.key for part in space_parts(space)}
    parts = [row for row in paced if row.kind == "part" and row.name in keys]
    return parts, [row for row in paced if row.split in FITTED and row.network() in space]
