"""What is believed of the parts' times inside whole nets before any net was measured.

An isolated part runs with its instructions and weights at hand, one inside a net does not; so a net takes longer than
its parts alone, by shares and constants that operators have in common, and the first use of an operator in a net costs
more than the next. Each such effect is a Gaussian deviation around the isolated time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.predict.census import Census
from nas.predict.contract import Array
from nas.predict.features import PartFeatures
from nas.predict.gaussian import Gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviations:
    """Standard deviations: the first four as shares of a part's own time, the others of the mean part's."""

    single: float = 0.05
    group: float = 0.2
    width: float = 0.05
    """Of a group at one width."""
    overall: float = 0.3
    group_call: float = 0.05
    """A constant for each part of a group."""
    call: float = 0.3
    """A constant for each part of any kind."""
    group_cost: float = 0.1
    """Per closed-form cost, each group its own; costs are shares of the largest part's."""
    cost: float = 0.0
    """Per closed-form cost, all groups alike."""
    first: float = 0.3
    """The first part of a kind in a net; and as much for any kind alike."""
    net: float = 1.0
    """A constant for each net."""


ISOLATED = Deviations()
"""From parts timed alone to parts inside nets."""
UNTIMED = Deviations(single=0.2, group=1.0, width=0.2, group_cost=0.3)
"""From a law of all parts, none of them timed."""


def prior(census: Census, features: PartFeatures, mean: Array, deviations: Deviations) -> Gaussian:
    """Weights for `Census.table` around `mean` `[census.width]`, the effects scaled by its parts' times."""
    count = len(census.parts)
    ms, usual = mean[:count], float(mean[:count].mean())
    costs = np.stack([features.common(part) for part in census.parts])
    costs /= np.maximum(costs.max(0), 1e-9)
    alike = costs @ costs.T
    group = _same([part.group for part in census.parts])
    at_width = _same([(part.group, part.embed_dim) for part in census.parts])
    d = deviations
    shares = d.group**2 * group + d.width**2 * at_width + d.overall**2 + d.single**2 * np.eye(count)
    constants = d.group_call**2 * group + d.call**2 + (d.group_cost**2 * group + d.cost**2) * alike
    cov = np.zeros((census.width, census.width))
    cov[:count, :count] = np.outer(ms, ms) * shares + usual**2 * constants
    rest = np.full(census.width - count, d.first)
    rest[-1] = d.net
    cov[range(count, census.width), range(count, census.width)] = (usual * rest) ** 2
    return Gaussian(mean, cov)


def _same(keys: Sequence[object]) -> Array:
    distinct = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    at = np.array([distinct[key] for key in keys])
    return np.asarray(at[:, None] == at, dtype=np.float64)
