"""What a single number of a net says about its latency: the yardstick that a predictor must beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from nas.arch import Arch
from nas.predict.contract import Array
from nas.predict.metrics import mape
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import network_cost
from nas.supernet.layout import sites

FEATURES = ("params", "flops", "activations", "depth")


class _Curve(Protocol):
    def __call__(self, x: Array) -> Array: ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """Latency as a function of one feature: a line or a monotone step curve, whichever cross-validates better."""

    feature: str
    form: str
    curve: Any

    @classmethod
    def fit(cls, feature: str, x: Array, wanted: Array) -> "Baseline":
        """From the values of the feature and the measured times."""
        forms = {"line": _line, "monotone": _monotone}
        best = min(forms, key=lambda form: _cross_validated(forms[form], x, wanted))
        return cls(feature, best, forms[best](x, wanted))

    def predict(self, x: Array) -> Array:
        """Milliseconds."""
        found: Array = self.curve(x)
        return found


def feature_values(archs: Sequence[Arch], space: SearchSpace, shape: TaskShape) -> Mapping[str, Array]:
    """Feature -> its value for every arch."""
    costs = [network_cost(space.frame, shape, arch) for arch in archs]
    return {
        "params": np.array([float(cost.params) for cost in costs]),
        "flops": np.array([float(cost.flops) for cost in costs]),
        "activations": np.array([_activations(arch, space, shape) for arch in archs]),
        "depth": np.array([float(len(arch.blocks)) for arch in archs]),
    }


def _activations(arch: Arch, space: SearchSpace, shape: TaskShape) -> float:
    """Tokens times width, summed over the blocks."""
    placed = zip(sites(space.frame, shape), arch.stages, strict=True)
    return float(sum(site.tokens * stage.embed_dim * len(stage.blocks) for site, stage in placed))


def _line(x: Array, wanted: Array) -> _Curve:
    table = np.stack([np.ones_like(x), x], axis=1)
    # relative errors count, as for the predictor
    slope, *_ = np.linalg.lstsq(table / wanted[:, None], np.ones_like(wanted), rcond=None)
    return lambda at: np.stack([np.ones_like(at), at], axis=1) @ slope


def _monotone(x: Array, wanted: Array) -> _Curve:
    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, wanted, sample_weight=wanted**-2)
    return lambda at: np.asarray(fitted.predict(at), dtype=np.float64)


def _cross_validated(form: Any, x: Array, wanted: Array) -> float:
    predicted = np.zeros_like(wanted)
    for train, test in KFold(min(5, len(x)), shuffle=True, random_state=0).split(x):
        predicted[test] = form(x[train], wanted[train])(x[test])
    return mape(wanted, predicted)
