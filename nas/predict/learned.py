"""A learned correction of the additive model, taken only where cross-validation says that it helps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nas.arch import Arch
from nas.predict.additive import Additive
from nas.predict.contract import Array, PredictConfig
from nas.predict.metrics import mape
from nas.space import Encoder

Model = Callable[[], Any]
NO_CORRECTION = "none"


def _ridge() -> Any:
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 4, 9)))


def _trees() -> Any:
    return GradientBoostingRegressor(
        n_estimators=80, max_depth=2, learning_rate=0.06, subsample=0.7, max_features=0.5, random_state=0
    )


MODELS: tuple[tuple[str, Model], ...] = (("ridge", _ridge), ("trees", _trees))


@dataclass(frozen=True, slots=True)
class Corrected:
    """additive time x exp(correction), the correction learned from the arch's encoding and the additive shares."""

    additive: Additive
    encoder: Encoder
    correction: str = NO_CORRECTION
    model: Any = None

    def predict(self, archs: Sequence[Arch]) -> Array:
        """Milliseconds `[len(archs)]`."""
        base = self.additive.predict(archs)
        if self.model is None or not archs:
            return base
        change: Array = self.model.predict(_features(archs, self.additive, self.encoder))
        return base * np.exp(np.clip(change, -0.5, 0.5))


def correct(
    additive: Additive, encoder: Encoder, archs: Sequence[Arch], wanted: Array, config: PredictConfig
) -> Corrected:
    """The best of no correction, ridge and trees; none where rows are few or the gain is small."""
    named = {name: make for name, make in MODELS if config.correction in ("auto", name)}
    if config.correction == NO_CORRECTION or len(archs) < config.min_rows:
        return Corrected(additive, encoder)
    errors = {
        name: _cross_validated(additive, encoder, archs, wanted, make, config.folds) for name, make in named.items()
    }
    best = min(errors, key=lambda name: errors[name])
    plain = _cross_validated(additive, encoder, archs, wanted, None, config.folds)
    if config.correction == "auto" and errors[best] > plain * (1 - config.margin):
        return Corrected(additive, encoder)
    return _train(additive, encoder, archs, wanted, best, named[best])


def _train(
    additive: Additive, encoder: Encoder, archs: Sequence[Arch], wanted: Array, name: str, make: Model | None
) -> Corrected:
    if make is None:
        return Corrected(additive, encoder)
    model = make()
    model.fit(_features(archs, additive, encoder), np.log(wanted / additive.predict(archs)))
    return Corrected(additive, encoder, name, model)


def _cross_validated(
    additive: Additive, encoder: Encoder, archs: Sequence[Arch], wanted: Array, make: Model | None, folds: int
) -> float:
    predicted = np.zeros(len(archs))
    for train, test in KFold(folds, shuffle=True, random_state=0).split(wanted):
        known = [archs[i] for i in train]
        part = _train(additive.corrected(known, wanted[train]), encoder, known, wanted[train], "", make)
        predicted[test] = part.predict([archs[i] for i in test])
    return mape(wanted, predicted)


def _features(archs: Sequence[Arch], additive: Additive, encoder: Encoder) -> Array:
    sums = additive.table(archs)
    total = np.maximum(sums[:, : len(additive.groups)].sum(1, keepdims=True), 1e-9)
    encoded = np.stack([encoder.encode(arch) for arch in archs]).astype(np.float64)
    return np.concatenate([np.log(total), sums / total, encoded], axis=1)
