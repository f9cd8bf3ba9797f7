"""Linear regression from a Gaussian prior, in the form that costs by the number of rows."""

from dataclasses import dataclass

import numpy as np

from nas.predict.contract import Array


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Weights `[n]` in milliseconds with their covariance `[n, n]`; a time is features @ weights."""

    mean: Array
    cov: Array

    def observe(self, table: Array, times: Array, noise: float) -> "Gaussian":
        """The weights once these rows took these times, each with this relative noise."""
        if not len(times):
            return self
        scaled = table / times[:, None]  # dividing by the time makes relative errors count
        shared = self.cov @ scaled.T
        gain = np.linalg.solve(scaled @ shared + noise**2 * np.eye(len(times)), shared.T).T
        return Gaussian(self.mean + gain @ (1.0 - scaled @ self.mean), self.cov - gain @ shared.T)

    def left_out(self, table: Array, times: Array, noise: float) -> Array:
        """Relative error of every row, `1 - predicted / measured`, had the others alone been observed."""
        scaled = table / times[:, None]
        inverse = np.linalg.inv(scaled @ self.cov @ scaled.T + noise**2 * np.eye(len(times)))
        found: Array = inverse @ (1.0 - scaled @ self.mean) / np.diag(inverse)
        return found

    def relative(self, table: Array) -> Array:
        """Covariance `[rows, rows]` of the rows' times as shares of their means."""
        times = table @ self.mean
        # a mean near zero would make its row all that matters
        scaled = table / np.maximum(times, 0.02 * times.max(initial=0.0))[:, None]
        found: Array = scaled @ self.cov @ scaled.T
        return found


def most_telling(kernel: Array, noise: float, count: int) -> list[int]:
    """Rows whose measurement, one after the other, lowers the summed variance of all rows most.

    `kernel` is the rows' joint covariance `[n, n]` as shares of their times, `noise` that of a measurement.
    """
    left, chosen = kernel.copy(), list[int]()
    for _ in range(min(count, len(kernel))):
        gains = (left**2).sum(0) / (np.diag(left) + noise**2)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        chosen.append(best)
        column = left[:, best] / np.sqrt(max(left[best, best], 0.0) + noise**2)
        left -= np.outer(column, column)
    return chosen
