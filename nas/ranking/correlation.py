"""Rank correlations with bootstrap intervals over architectures: all resamples at once, as products of matrices.

A resample is a row of counts, how often each architecture was drawn, so that several statistics can be taken of the
same resamples and compared in pairs. Drawn twice, an architecture is tied with itself, as it would be in a list.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEVEL = 0.95
LEAST_NETS = 4
"""Below this many a rank correlation says nothing: with three, one in six orders is perfect by chance."""
LEAST_DEFINED = 0.5
"""Share of the resamples that must have a value for their quantiles to be an interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and the ends of its 95 % percentile interval; None where too few or equal values leave it open."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Array) -> Self:
        """From the statistic of the whole, first, and of each resample."""
        if not np.isfinite(values[0]):
            return cls(None, None, None)
        defined = values[1:][np.isfinite(values[1:])]
        if len(defined) < max(1.0, LEAST_DEFINED * (len(values) - 1)):
            return cls(float(values[0]), None, None)
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(values[0]), float(low), float(high))


def resampled(size: int, count: int, seed: int) -> Array:
    """Weights `[1 + count, size]`: the whole, each once, and then `count` draws with replacement."""
    draws = np.random.default_rng([seed, size]).multinomial(size, np.full(size, 1 / max(1, size)), size=count)
    return np.concatenate([np.ones((1, size)), draws.astype(np.float64)])


def kendall(x: Array, y: Array, weights: Array, together: Mask | None = None) -> Array:
    """Kendall's tau-b ("The treatment of ties in ranking problems", 1945) of x and y `[n]` under weights `[R, n]`.

    together: pairs `[n, n]` that count, such as those inside a group; all if left out
    Pairs with a NaN do not count; NaN where fewer than four do or one side is constant.
    """
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < LEAST_NETS:
        return np.full(len(weights), np.nan)
    x, y, weights = x[known], y[known], weights[:, known]
    pairs = 1.0 if together is None else together[np.ix_(known, known)].astype(np.float64)
    first, second = _signs(x), _signs(y)
    agreeing = _summed(first * second * pairs, weights)
    return _over(agreeing, np.sqrt(_summed(first**2 * pairs, weights) * _summed(second**2 * pairs, weights)))


def spearman(x: Array, y: Array, weights: Array) -> Array:
    """Spearman's rho, the correlation of ranks with ties at their mean, like `kendall` otherwise."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < LEAST_NETS:
        return np.full(len(weights), np.nan)
    weights = weights[:, known]
    first, second = (_centred(_ranks(values[known], weights), weights) for values in (x, y))
    products = ((weights * a * b).sum(axis=1) for a, b in ((first, second), (first, first), (second, second)))
    both, own, other = products
    return _over(both, np.sqrt(own * other))


def _signs(x: Array) -> Array:
    return np.sign(x[:, None] - x)


def _summed(pairs: Array, weights: Array) -> Array:
    """Of each resample, the sum over its pairs."""
    found: Array = ((weights @ pairs) * weights).sum(axis=1)
    return found


def _ranks(x: Array, weights: Array) -> Array:
    """The rank `[R, n]` that each value has in each resample, whether it was drawn or not."""
    below = (x[None, :] < x[:, None]) + 0.5 * (x[None, :] == x[:, None])
    found: Array = weights @ below.T
    return found


def _centred(ranks: Array, weights: Array) -> Array:
    centred: Array = ranks - (weights * ranks).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    return centred


def _over(part: Array, whole: Array) -> Array:
    # a hair of rounding instead of nothing is still a constant side
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 1e-9)
