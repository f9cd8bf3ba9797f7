"""Latency predictors, and how good they are."""

from nas.predict.card import ErrorCard
from nas.predict.contract import LatencyPredictor, PredictConfig
from nas.predict.fit import fit_predictor

__all__ = ["ErrorCard", "LatencyPredictor", "PredictConfig", "fit_predictor"]
