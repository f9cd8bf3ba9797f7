"""A Gaussian process for one objective: sums of knobs, plus how like points behave alike, every factor with a weight.

Kernel: linear in the `linear` features and squared-exponential in the `near` ones, with automatic relevance
determination (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006) under log-normal priors that
scale with the number of factors as in "Vanilla Bayesian Optimization Performs Great in High Dimensions" (2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from nas.errors import NasError
from nas.searching.features import Array, Block, Encoded

STEPS = 40
"""Steps of the optimiser for the weights."""
SPREAD = 1.5
"""Standard deviation of the logarithm of a weight, before data."""
NOISE = 1e-2
JITTER = 1e-6
BOOSTS = (0.0, 1e-8, 1e-6, 1e-4)


@dataclass(frozen=True, slots=True)
class Weights:
    """Logarithms: of each factor in both kernels, of the second kernel's height, of the noise's variance."""

    linear: Array
    near: Array
    height: float
    noise: float

    @classmethod
    def guess(cls, features: Encoded) -> "Weights":
        """The middle of the priors."""
        a, b = _count(features.linear), _count(features.near)
        return cls(np.full(a, -np.log(a)), np.full(b, np.log(2 / b)), np.log(0.5), np.log(NOISE))

    def flat(self) -> Array:
        """All of them in a row."""
        return np.concatenate([self.linear, self.near, [self.height, self.noise]])

    def like(self, flat: Array) -> "Weights":
        """The inverse of `flat` for weights of this shape."""
        a, b = len(self.linear), len(self.near)
        return Weights(flat[:a], flat[a : a + b], float(flat[-2]), float(flat[-1]))


class Kernel:
    """Covariances under some weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def __call__(self, one: Encoded, other: Encoded) -> Array:
        """`[N, M]`, without noise."""
        w = self._weights
        a, b = _scaled(one.linear, w.linear), _scaled(other.linear, w.linear)
        total = self.near(one, other)
        total += a @ b.T
        total += 1.0
        return total

    def near(self, one: Encoded, other: Encoded) -> Array:
        """The squared-exponential part."""
        w = self._weights
        a, b = _scaled(one.near, w.near), _scaled(other.near, w.near)
        # exponents in place: this is where a search's time goes
        alike = np.asarray(a @ b.T, dtype=np.float64)
        alike += (w.height - 0.5 * (a**2).sum(1))[:, None]
        alike -= 0.5 * (b**2).sum(1)
        np.exp(alike, out=alike)
        return alike

    def own(self, points: Encoded) -> Array:
        """Variances `[N]` before data."""
        variances: Array = 1.0 + (_scaled(points.linear, self._weights.linear) ** 2).sum(1)
        return variances + float(np.exp(self._weights.height))


def fit(features: Encoded, targets: Array, shares: Array) -> tuple[Weights, float]:
    """The most probable weights and the negative logarithm of how probable they are.

    Given targets `[N]` of mean 0 and deviation 1; `shares` are their fidelities.
    """
    middle = Weights.guess(features)
    prior = middle.flat()
    width = np.full(len(prior), SPREAD)
    width[-1] = 2 * SPREAD

    def loss(flat: Array) -> tuple[float, Array]:
        value, gradient = _negative_log_likelihood(middle.like(flat), features, targets, shares)
        off = (flat - prior) / width
        return value + 0.5 * float(off @ off), gradient + off / width

    bounds = [(-14, 8)] * len(prior)
    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return middle.like(np.asarray(found.x)), float(found.fun)


def _negative_log_likelihood(weights: Weights, features: Encoded, targets: Array, shares: Array) -> tuple[float, Array]:
    kernel = Kernel(weights)
    near = kernel.near(features, features)
    a = _scaled(features.linear, weights.linear)
    noise = np.exp(weights.noise) / shares
    factor = _lower(1.0 + a @ a.T + near + np.diag(noise + JITTER))
    inverse = _inverse(factor)
    alpha = inverse @ targets
    value = 0.5 * targets @ alpha + np.log(np.diag(factor)).sum()
    slope = 0.5 * (inverse - np.outer(alpha, alpha))
    by_linear = _per_factor(((slope @ a) * a).sum(0), features.linear)
    v, b = slope * near, _scaled(features.near, weights.near)
    by_near = _per_factor(((v @ b) * b).sum(0) - v.sum(1) @ b**2, features.near)
    return float(value), np.concatenate([by_linear, by_near, [v.sum(), np.diag(slope) @ noise]])


def _lower(matrix: Array) -> Array:
    """The lower Cholesky factor, of a matrix a little heavier on its diagonal where rounding leaves none otherwise."""
    mean = float(np.trace(matrix)) / len(matrix)
    for weight in BOOSTS:
        try:
            return np.asarray(np.linalg.cholesky(matrix + weight * mean * np.eye(len(matrix))), dtype=np.float64)
        except np.linalg.LinAlgError:
            continue
    raise NasError(f"a model of {len(matrix)} results cannot be fitted: they hold values that are not finite")


def _inverse(factor: Array) -> Array:
    """Of the matrix whose lower Cholesky factor this is."""
    lower, _ = dpotri(factor, lower=1)
    whole: Array = lower + np.tril(lower, -1).T
    return whole


class Process:
    """The posterior: mean and deviation of the objective of unseen points, in its own units."""

    def __init__(self, features: Encoded, values: Array, shares: Array, weights: Weights, scale: tuple[float, float]):
        self._features, self._kernel, self._scale = features, Kernel(weights), scale
        noise = np.exp(weights.noise) / shares + JITTER
        self._factor = _lower(self._kernel(features, features) + np.diag(noise))
        self._alpha = cho_solve((self._factor, True), (values - scale[0]) / scale[1], check_finite=False)

    def mean(self, points: Encoded) -> Array:
        """`[N]`."""
        means: Array = self._kernel(points, self._features) @ self._alpha
        return self._scale[0] + self._scale[1] * means

    def predict(self, points: Encoded) -> tuple[Array, Array]:
        """Mean and standard deviation `[N]`."""
        cross = self._kernel(points, self._features)
        half = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(self._kernel.own(points) - (half**2).sum(0), 1e-12)
        return self._scale[0] + self._scale[1] * (cross @ self._alpha), self._scale[1] * np.sqrt(variance)


def _scaled(block: Block, weights: Array) -> Array:
    return block.values * np.exp(0.5 * weights)[block.factor]


def _per_factor(columns: Array, block: Block) -> Array:
    return np.bincount(block.factor, columns, minlength=_count(block)).astype(np.float64)


def _count(block: Block) -> int:
    return int(block.factor.max()) + 1


def standard(values: NDArray[np.float64] | Sequence[float]) -> tuple[float, float]:
    """Mean and deviation, the latter 1 for constant values."""
    return float(np.mean(values)), float(np.std(values)) or 1.0
