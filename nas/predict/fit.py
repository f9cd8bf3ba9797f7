"""From the rows of a latency table to a predictor; rebuilt whenever it is needed, the same from the same rows."""

from collections.abc import Sequence

import numpy as np

from nas.errors import MeasurementError
from nas.predict.additive import Additive
from nas.predict.contract import PredictConfig
from nas.predict.learned import Corrected, correct
from nas.profiling.table import Row, at_one_pace
from nas.shapes import TaskShape
from nas.space import Encoder, SearchSpace


def fit_predictor(
    rows: Sequence[Row], space: SearchSpace, shape: TaskShape, config: PredictConfig | None = None
) -> Corrected:
    """The latency predictor of a table's parts and fit nets; held-out nets are not looked at."""
    paced = at_one_pace(rows)
    parts = [row for row in paced if row.kind == "part"]
    nets = [row for row in paced if row.split == "fit" and row.network() in space]
    if not parts and not nets:
        raise MeasurementError(
            f"a latency predictor needs measured parts or nets of space {space.frame.name!r}, the table has neither: "
            "run `nas profile`"
        )
    additive = Additive.fit(parts, nets, space, shape)
    archs, wanted = [row.network() for row in nets], np.array([row.median_ms for row in nets])
    return correct(additive, Encoder(space), archs, wanted, config or PredictConfig())
