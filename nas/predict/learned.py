"""The predictor: the additive model, a learned correction where cross-validation asks for it, and bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nas.arch import Arch
from nas.predict.additive import Additive
from nas.predict.census import Codes
from nas.predict.conformal import ENOUGH, Bounds
from nas.predict.contract import Array, PredictConfig
from nas.predict.metrics import mape

Model = Callable[[], Any]
NO_CORRECTION = "none"
FOLDS = 10
"""Of the out-of-fold errors behind the bounds: nearly as many nets in each fit as in the last one."""


def _ridge() -> Any:
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 4, 9)))


def _trees() -> Any:
    return GradientBoostingRegressor(
        n_estimators=80, max_depth=2, learning_rate=0.06, subsample=0.7, max_features=0.5, random_state=0
    )


MODELS: tuple[tuple[str, Model], ...] = (("ridge", _ridge), ("trees", _trees))


@dataclass(frozen=True, slots=True)
class Corrected:
    """additive time x exp(correction), the correction learned from shares by kind and what is at which place."""

    additive: Additive
    correction: str = NO_CORRECTION
    model: Any = None
    bounds: Bounds = Bounds(np.zeros(0))
    confidence: float = 0.9

    def predict(self, archs: Sequence[Arch]) -> Array:
        """Milliseconds `[len(archs)]`; `MeasurementError` for an operator that was never measured."""
        if self.model is None:
            return self.additive.predict(archs)
        found = [self._corrected(codes) for codes in self.additive.chunks(archs)]
        return np.concatenate(found) if found else np.zeros(0)

    def interval(self, archs: Sequence[Arch], confidence: float | None = None) -> tuple[Array, Array]:
        """Low and high milliseconds `[len(archs)]`; `ConfigError` for a confidence below 0.5 or of 1."""
        return self.bounds.interval(self.predict(archs), self.confidence if confidence is None else confidence)

    def upper(self, archs: Sequence[Arch], confidence: float | None = None) -> Array:
        """Milliseconds `[len(archs)]` that a measurement stays below with this confidence."""
        return self.bounds.upper(self.predict(archs), self.confidence if confidence is None else confidence)

    def _corrected(self, codes: Codes) -> Array:
        change: Array = self.model.predict(_features(codes, self.additive))
        return self.additive.of_codes(codes) * np.exp(np.clip(change, -0.5, 0.5))


def correct(
    additive: Additive, archs: Sequence[Arch], wanted: Array, scored: Array, config: PredictConfig
) -> Corrected:
    """With the best of no correction, ridge and trees; none where nets are few or the gain is small.

    `scored` flags the nets `[len(archs)]` that are drawn like those to be asked about.
    """
    name = _choice(additive, archs, wanted, config)
    make = dict(MODELS).get(name)
    trained = _train(additive.observed(archs, wanted), archs, wanted, make)
    bounds = Bounds(np.zeros(0))
    if len(archs) > 1:
        predicted = _out_of_fold(additive, archs, wanted, make, FOLDS)
        bounds = Bounds.of(predicted, wanted, scored if scored.sum() >= ENOUGH else np.ones(len(archs), dtype=bool))
    return Corrected(trained.additive, name, trained.model, bounds, config.confidence)


def _choice(additive: Additive, archs: Sequence[Arch], wanted: Array, config: PredictConfig) -> str:
    if config.correction == NO_CORRECTION or len(archs) < max(config.min_rows, config.folds):
        return NO_CORRECTION
    named = {name: make for name, make in MODELS if config.correction in ("auto", name)}
    errors = {
        name: mape(wanted, _out_of_fold(additive, archs, wanted, make, config.folds)) for name, make in named.items()
    }
    best = min(errors, key=lambda name: errors[name])
    plain = mape(wanted, _out_of_fold(additive, archs, wanted, None, config.folds))
    if config.correction == "auto" and errors[best] > plain * (1 - config.margin):
        return NO_CORRECTION
    return best


def _train(additive: Additive, archs: Sequence[Arch], wanted: Array, make: Model | None) -> Corrected:
    if make is None:
        return Corrected(additive)
    model, codes = make(), additive.census.codes(archs)
    model.fit(_features(codes, additive), np.log(wanted / additive.of_codes(codes)))
    return Corrected(additive, model=model)


def _out_of_fold(additive: Additive, archs: Sequence[Arch], wanted: Array, make: Model | None, folds: int) -> Array:
    predicted = np.zeros(len(archs))
    for train, test in KFold(min(folds, len(archs)), shuffle=True, random_state=0).split(wanted):
        known = [archs[i] for i in train]
        part = _train(additive.observed(known, wanted[train]), known, wanted[train], make)
        predicted[test] = part.predict([archs[i] for i in test])
    return predicted


def _features(codes: Codes, additive: Additive) -> NDArray[np.float32]:
    """`[len(codes), features]`: log time, shares of it by kind, and for each place its kinds and its time."""
    census, ms = additive.census, additive.code_ms(additive.weights)
    total = additive.of_codes(codes)[:, None]
    weights = np.append(additive.weights[: len(census.parts)], 0.0)
    one_hot = np.append(np.eye(len(census.kinds))[census.kind_of], np.zeros((1, len(census.kinds))), axis=0)
    by_kind = (weights[:, None] * one_hot)[census.members()].sum(1).astype(np.float32)
    placed = np.concatenate([census.has_kind(), ms[:, None] / ms.mean()], axis=1).astype(np.float32)
    shares = sum(by_kind[column] for column in codes.T) / total
    return np.concatenate([np.log(total), shares, placed[codes[:, 1:]].reshape(len(codes), -1)], axis=1).astype(
        np.float32
    )
