"""How far predictions are from measurements."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from nas.predict.contract import Array


def relative_errors(measured: Array, predicted: Array) -> Array:
    """|predicted - measured| / measured."""
    found: Array = np.abs(predicted - measured) / measured
    return found


def mape(measured: Array, predicted: Array) -> float:
    """Mean absolute relative error, 0.03 for three per cent; NaN without rows."""
    return float(relative_errors(measured, predicted).mean()) if len(measured) else float("nan")


def within(measured: Array, predicted: Array, share: float) -> float:
    """Share of rows whose relative error is at most `share`; NaN without rows."""
    return float((relative_errors(measured, predicted) <= share).mean()) if len(measured) else float("nan")


def r_squared(measured: Array, predicted: Array) -> float:
    """Explained share of variance; NaN where the measured values do not vary."""
    total = float(((measured - measured.mean()) ** 2).sum()) if len(measured) else 0.0
    return 1.0 - float(((measured - predicted) ** 2).sum()) / total if total else float("nan")


def tau(measured: Array, predicted: Array) -> float:
    """Kendall's rank correlation, tau-b; NaN below two rows or where either side is constant."""
    return float(kendalltau(measured, predicted).statistic) if len(measured) > 1 else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Errors of one predictor on the held-out nets; shares, not per cent."""

    name: str
    mape: float
    within_5: float
    within_10: float
    r2: float
    tau: float

    @classmethod
    def of(cls, name: str, measured: Array, predicted: Array) -> "Score":
        """From measured and predicted milliseconds."""
        return cls(
            name=name,
            mape=mape(measured, predicted),
            within_5=within(measured, predicted, 0.05),
            within_10=within(measured, predicted, 0.10),
            r2=r_squared(measured, predicted),
            tau=tau(measured, predicted),
        )
