"""How far from its prediction a measurement may lie, from the errors on nets that a predictor had not seen."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from nas.errors import ConfigError
from nas.predict.contract import Array

UNTESTED = 0.3
"""Standard deviation of a logarithm of measured over predicted, where no net was measured."""
SITTING = 0.007
"""Nets measured minutes later are all slower or faster against the reference net; root mean square of the shifts
between the nets to fit and the held-out ones of three eager tables (-0.4, +0.6 and +1.0 %, two spaces and minutes)."""
ENOUGH = 20
POWERS = np.linspace(-0.8, 0.8, 17)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Split-conformal bounds: the share that was asked for holds on average for nets drawn like the scored ones."""

    scores: Array
    """log(measured / predicted) over predicted ** power, ascending."""
    power: float = 0.0
    """Small nets are timed less exactly than large ones where this is negative."""
    sitting: float = SITTING
    """Standard deviation of the shift that the nets of another sitting have in common."""

    @classmethod
    def of(cls, predicted: Array, measured: Array, scored: Array) -> "Bounds":
        """From out-of-fold predictions; all nets say how errors grow, the scored ones (flags) how large they are."""
        errors = np.log(measured / predicted)
        power = 0.0
        if len(errors) >= ENOUGH:
            power = min(POWERS, key=lambda tried: _misfit(errors, predicted**tried))
        return cls(np.sort((errors / predicted**power)[scored]), float(power))

    def interval(self, predicted: Array, confidence: float) -> tuple[Array, Array]:
        """Low and high milliseconds around these."""
        _check(confidence)
        tail = (1 + confidence) / 2
        half = self._later(_quantile(np.sort(np.abs(self.scores)), confidence, tail) * predicted**self.power, tail)
        return predicted * np.exp(-half), predicted * np.exp(half)

    def upper(self, predicted: Array, confidence: float) -> Array:
        """Milliseconds that measurements stay below."""
        _check(confidence)
        above = _quantile(self.scores, confidence, confidence) * predicted**self.power
        bound: Array = predicted * np.exp(self._later(above, confidence))
        return bound

    def _later(self, score: Array, tail: float) -> Array:
        """The score with the common shift added in quadrature."""
        shift = float(norm.ppf(tail)) * self.sitting
        widened: Array = np.where(score > 0, np.hypot(score, shift), score + shift)
        return widened


def _misfit(errors: Array, scale: Array) -> float:
    """Negative log-likelihood of errors with a Laplace distribution of this shape."""
    return float(np.log(np.mean(np.abs(errors) / scale)) + np.log(scale).mean())


def _quantile(ascending: Array, share: float, tail: float) -> float:
    """The score that a further one stays below with probability `share`; by Student's tail beyond the largest."""
    count = len(ascending)
    rank = math.ceil((count + 1) * share - 1e-9)
    if rank <= count:
        return float(ascending[rank - 1])
    if not count:
        return float(UNTESTED * norm.ppf(tail))
    return float(max(ascending[-1], np.sqrt(np.mean(ascending**2)) * t.ppf(tail, count)))


def _check(confidence: float) -> None:
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"a confidence is at least 0.5 and below 1, got {confidence}: 0.9 is usual")
