"""What an arch would reach alone, from what it inherits: corrected by the networks that were trained alone.

A cheap approximation and a few exact results together say more than either ("Predicting the Output from a Complex
Computer Code When Fast Approximations Are Available", 2000). Here the exact results are standalone trainings, and what
binds them to inherited scores is a ridge regression on these scores and on what archs are made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nas.arch import Arch
from nas.ranking.correlation import Array
from nas.ranking.evidence import CORRECTED, Direction, Net
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import network_cost
from nas.tasks import LOSS

TRAITS = "traits"
FLOOR = 1e-3
"""What a network without a fault on val is taken to miss."""
PENALTIES = np.logspace(-1, 3, 13)
"""Of which ridge regression takes what predicts left-out networks best."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What an arch is made of, as numbers that a few dozen trained networks are enough to learn from."""

    space: SearchSpace
    shape: TaskShape

    def __call__(self, archs: Sequence[Arch]) -> Array:
        """`[N, F]`: size, work, depth, width and FFN, and the share of blocks that each operator has."""
        return np.array([self._of(arch) for arch in archs], dtype=np.float64)

    def _of(self, arch: Arch) -> list[float]:
        cost, blocks = network_cost(self.space.frame, self.shape, arch), arch.blocks
        widths = [np.log(stage.embed_dim) for stage in arch.stages for _ in stage.blocks]
        hidden = [block.ffn.ratio for block in blocks]
        used = [block.operator.name for block in blocks]
        shares = [used.count(name) / len(used) for name in self.space.operator_names()]
        general = [np.log(cost.params), np.log(cost.flops), len(blocks), np.mean(widths), np.mean(hidden)]
        return [float(value) for value in (*general, *shares)]


@dataclass(frozen=True, slots=True)
class Correction:
    """Inherited scores to expected standalone ones, in the task's metric."""

    traits: Traits
    metric: str
    direction: Direction
    has_loss: bool
    """Whether it goes by the inherited loss as well."""
    model: Pipeline

    @classmethod
    def fit(
        cls, traits: Traits, metric: str, direction: Direction, nets: Sequence[Net], archs: Sequence[Arch]
    ) -> "Correction":
        """From networks that were trained alone, and their archs."""
        table = np.hstack([_inherited(nets, direction), traits(archs)])
        return cls(traits, metric, direction, _have_loss(nets), _model().fit(table, _alone(nets, direction)))

    @classmethod
    def read(cls, traits: Traits, evidence: Mapping[str, Any]) -> "Correction":
        """From what `nas rank` has written."""
        rows = [row for row in evidence["nets"] if row["is_ranked"]]
        archs = [Arch.from_dict(row["arch"]) for row in rows]
        nets = [Net(**{each.name: row[each.name] for each in fields(Net)}) for row in rows]
        return cls.fit(traits, evidence["metric"], evidence["direction"], nets, archs)

    def __call__(self, arch: Arch, scores: Mapping[str, float]) -> float:
        """What an arch with these inherited scores, by name, is expected to reach alone."""
        inherited = [_faults(np.array(scores[self.metric]), self.direction)]
        inherited += [np.log(max(FLOOR, scores[LOSS]))] if self.has_loss else []
        found = self.model.predict(np.hstack([[inherited], self.traits([arch])]))
        return float(_metric(found, self.direction)[0])


def foretold(traits: Traits, nets: Sequence[Net], archs: Sequence[Arch], direction: Direction) -> list[Net]:
    """The nets, each with what the trainings of the others let expect of it among its proxies.

    `traits` knows nothing but what they are made of, `corrected` their inherited scores as well: whether a supernet is
    worth more than a regression is the difference.
    """
    made, alone = traits(archs), _alone(nets, direction)
    tables = (made, np.hstack([_inherited(nets, direction), made]))
    sign = 1.0 if direction == "maximise" else -1.0
    plain, corrected = (sign * _metric(_left_out(table, alone), direction) for table in tables)
    known = zip(nets, plain, corrected, strict=True)
    return [replace(net, proxies={**net.proxies, TRAITS: float(t), CORRECTED: float(c)}) for net, t, c in known]


def _left_out(table: Array, alone: Array) -> Array:
    found = cross_val_predict(_model(), table, alone, cv=LeaveOneOut())
    others = (alone.sum() - alone) / (len(alone) - 1)
    # without a network of its own the mean is lower the better that one is: that would reverse what is left to chance
    centred: Array = found - others + alone.mean()
    return centred


def _model() -> Any:
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES))


def _inherited(nets: Sequence[Net], direction: Direction) -> Array:
    """Columns `[N, 1]`, or `[N, 2]` with the loss."""
    columns = [_faults(np.array([net.inherited for net in nets]), direction)]
    if _have_loss(nets):
        columns.append(np.log(np.maximum(FLOOR, [-net.proxies[LOSS] for net in nets])))
    return np.stack(columns, axis=1)


def _have_loss(nets: Sequence[Net]) -> bool:
    """Whether all have an inherited loss beside the metric, as one that more is better of."""
    return all(np.isfinite(net.proxies.get(LOSS, np.nan)) for net in nets)


def _alone(nets: Sequence[Net], direction: Direction) -> Array:
    return _faults(np.array([net.standalone for net in nets], dtype=np.float64).mean(axis=1), direction)


def _faults(metric: Array, direction: Direction) -> Array:
    """Logarithm of what is missing of 1 or, where less is better, of the metric: no sum of these is out of range."""
    found: Array = np.log(np.maximum(FLOOR, 1 - metric if direction == "maximise" else metric))
    return found


def _metric(faults: Array, direction: Direction) -> Array:
    return 1 - np.exp(faults) if direction == "maximise" else np.exp(faults)
