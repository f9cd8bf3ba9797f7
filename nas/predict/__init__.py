"""Latency predictors, and how good they are."""

from nas.predict.card import ErrorCard
from nas.predict.contract import LatencyPredictor, PredictConfig
from nas.predict.fit import choose, fit_predictor
from nas.predict.transfer import plan_transfer, transfer

__all__ = [
    "ErrorCard",
    "LatencyPredictor",
    "PredictConfig",
    "choose",
    "fit_predictor",
    "plan_transfer",
    "transfer",
]
