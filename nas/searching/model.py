"""A light model of an objective that costs an evaluation: from features of an arch to a mean and a spread."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge

from nas.arch import Arch
from nas.searching.problem import Problem
from nas.space import Encoder

Array = NDArray[np.float64]
TREES = 32
PLACE = re.compile(r"^\d+\.\d+\.")


class Features:
    """Encoding of an arch, the same summed over blocks, and the logarithms of its known costs."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._encoder = problem, Encoder(problem.space)
        kinds = [PLACE.sub("", name) for name in self._encoder.features]
        self._sums = np.array([[kind == group for group in dict.fromkeys(kinds)] for kind in kinds], dtype=np.float64)
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, archs: Sequence[Arch]) -> Array:
        """`[N, features]`."""
        for arch in archs:
            if arch.digest not in self._known:
                self._known[arch.digest] = self._encoder.encode(arch)
        encoded = np.array([self._known[arch.digest] for arch in archs], dtype=np.float64)
        costs = [[values[name] for name in sorted(self._problem.known)] for values in self._problem.cheap(archs)]
        return np.hstack([encoded, encoded @ self._sums, np.log1p(np.maximum(costs, 0.0)).reshape(len(archs), -1)])


class Ensemble:
    """Bayesian linear regression and randomised trees; where they disagree, the prediction is less certain."""

    def __init__(self, features: Array, targets: Array, seed: int) -> None:
        self._mean, self._scale = features.mean(axis=0), features.std(axis=0) + 1e-9
        rows = self._standard(features)
        self._linear = BayesianRidge().fit(rows, targets)
        self._trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
        self._trees.fit(rows, targets)

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation `[N]`."""
        rows = self._standard(features)
        linear, width = self._linear.predict(rows, return_std=True)
        leaves = rows.astype(np.float32)
        votes = np.array([tree.predict(leaves, check_input=False) for tree in self._trees.estimators_])
        trees = votes.mean(axis=0)
        variance = (width**2 + votes.var(axis=0)) / 2 + (linear - trees) ** 2 / 4
        return (linear + trees) / 2, np.sqrt(variance)

    def _standard(self, features: Array) -> Array:
        rows: Array = (features - self._mean) / self._scale
        return rows
