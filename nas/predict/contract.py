"""What every predictor is, and the settings of those for latency."""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nas.arch import Arch
from nas.config import config

Array = NDArray[np.float64]


class LatencyPredictor(Protocol):
    """Times of networks without running them."""

    def predict(self, archs: Sequence[Arch]) -> Array:
        """Milliseconds `[len(archs)]`; `MeasurementError` for an operator that was never measured."""

    def interval(self, archs: Sequence[Arch], confidence: float | None = None) -> tuple[Array, Array]:
        """Milliseconds `[len(archs)]` that a share `confidence` of measurements lies between; none: as configured."""

    def upper(self, archs: Sequence[Arch], confidence: float | None = None) -> Array:
        """Milliseconds `[len(archs)]` that a share `confidence` of measurements lies below; none: as configured."""


@config
class PredictConfig:
    """How a predictor is fitted. `correction` is chosen by cross-validation unless it is named."""

    base: str | None = None
    """Table that an earlier `nas fit` kept: its predictor is carried to this device and workload by a few nets."""
    transfer_nets: Annotated[int, Field(ge=2)] = 10
    """How many nets `nas profile` measures where there is a base."""

    correction: Literal["auto", "none", "ridge", "trees"] = "auto"
    folds: Annotated[int, Field(ge=2)] = 5
    min_rows: Annotated[int, Field(ge=2)] = 30
    """Fewer nets than this are not corrected."""
    margin: Annotated[float, Field(ge=0)] = 0.05
    """Share by which a correction must lower the cross-validated error to be taken."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Of intervals and upper bounds where none is named."""
