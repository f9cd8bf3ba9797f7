"""What an arch would reach alone, from what it inherits: corrected by networks that were trained alone.

A cheap approximation and a few exact results together say more than either ("Predicting the Output from a Complex
Computer Code When Fast Approximations Are Available", 2000). The exact results are whole standalone trainings, the
approximations inherited scores and traits. Landmarks stand between them: from scores and traits a Gaussian process
foretells what a short training would give, and a regression on that and on size leads to the whole one.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nas.arch import Arch
from nas.ranking.correlation import Array
from nas.ranking.evidence import CORRECTED, Direction, Net
from nas.ranking.traits import Traits
from nas.tasks import LOSS

TRAITS = "traits"
FLOOR = 1e-3
"""What a network without a fault on val is taken to miss, and one that is never right to have."""
PENALTIES = np.logspace(-1, 3, 13)
"""Of which ridge regression takes what predicts left-out networks best."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Networks that were trained alone for as many steps, with their archs."""

    nets: Sequence[Net]
    archs: Sequence[Arch]
    are_inherited: bool = False
    """Whether training went on from a supernet's weights, and so knows it."""

    @classmethod
    def read(cls, rows: Iterable[Mapping[str, Any]], *, are_inherited: bool = False) -> "Trained":
        """From what `nas rank` has written."""
        found = list(rows)
        nets = [Net(**{each.name: row[each.name] for each in fields(Net)}) for row in found]
        return cls(nets, [Arch.from_dict(row["arch"]) for row in found], are_inherited)

    @property
    def have_loss(self) -> bool:
        """Whether all have an inherited loss beside the metric, as one that more is better of."""
        return all(np.isfinite(net.proxies.get(LOSS, np.nan)) for net in self.nets)

    def inherited(self, direction: Direction) -> Array:
        """Columns `[N, 1]`, or `[N, 2]` with the loss."""
        columns = [_even(np.array([net.inherited for net in self.nets]), direction)]
        if self.have_loss:
            columns.append(np.log(np.maximum(FLOOR, [-net.proxies[LOSS] for net in self.nets])))
        return np.stack(columns, axis=1)

    def alone(self, direction: Direction) -> Array:
        """Means over seeds `[N]`."""
        return _even(np.array([net.standalone for net in self.nets], dtype=np.float64).mean(axis=1), direction)


@dataclass(frozen=True, slots=True)
class Early:
    """What a regression on whole trainings goes by: scores and traits themselves, or what they say of a short one."""

    traits: Traits
    process: Pipeline | None
    """None without landmarks."""
    with_size: bool = True
    """Whether size counts beside the foretold training."""

    @classmethod
    def fit(cls, traits: Traits, direction: Direction, landmarks: Trained | None, *, scores: bool) -> "Early":
        """From networks of which none is to be foretold; `scores`: whether inherited scores count."""
        if landmarks is None:
            return cls(traits, None)
        process = _process()
        inherited = landmarks.inherited(direction)[:, : None if scores else 0]
        with warnings.catch_warnings():
            # a length at the end of its range is a trait that says nothing
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(np.hstack([inherited, traits.detailed(landmarks.archs)]), landmarks.alone(direction))
        # what the rest of a training adds differs with size, less so where it began from inherited weights
        return cls(traits, process, with_size=not landmarks.are_inherited)

    def __call__(self, inherited: Array, archs: Sequence[Arch]) -> Array:
        """`[N, F]`, of inherited scores `[N, 0 to 2]`."""
        if self.process is None:
            return np.hstack([inherited, self.traits(archs)])
        found = self.process.predict(np.hstack([inherited, self.traits.detailed(archs)]))
        return np.hstack([found[:, None], self.traits.sizes(archs)]) if self.with_size else found[:, None]


@dataclass(frozen=True, slots=True)
class Correction:
    """Inherited scores to expected standalone ones, in the task's metric."""

    early: Early
    metric: str
    direction: Direction
    columns: int
    """Inherited scores that it goes by: 0, the metric, or the loss as well."""
    model: Pipeline

    @classmethod
    def fit(
        cls,
        traits: Traits,
        metric: str,
        direction: Direction,
        known: Trained,
        landmarks: Trained | None = None,
        *,
        scores: bool = True,
    ) -> "Correction":
        """From networks that were trained alone for the whole time, and others for a part of it.

        Landmarks count if they foretell left-out ones of `known` better than these do by themselves, which takes short
        trainings that rank as whole ones do. Without `scores` it is the regression that knows no supernet.
        """
        inherited, alone = known.inherited(direction)[:, : None if scores else 0], known.alone(direction)
        pairs = _tables(traits, known, direction, landmarks, scores=scores)
        place, model = _best([table for _, table in pairs], alone)
        return cls(pairs[place][0], metric, direction, inherited.shape[1], model)

    @classmethod
    def read(cls, traits: Traits, evidence: Mapping[str, Any]) -> "Correction":
        """From what `nas rank` has written."""
        known = Trained.read(row for row in evidence["nets"] if row["is_ranked"])
        marks = evidence.get("landmarks")
        landmarks = Trained.read(marks, are_inherited=evidence.get("short_start") == "inherited") if marks else None
        return cls.fit(traits, evidence["metric"], evidence["direction"], known, landmarks)

    def __call__(self, arch: Arch, scores: Mapping[str, float]) -> float:
        """What an arch with these inherited scores, by name, is expected to reach alone."""
        inherited = [_even(np.array(scores[self.metric]), self.direction), *_log_loss(scores)]
        found = self.model.predict(self.early(np.array([inherited[: self.columns]]), [arch]))
        return float(metric_of(found, self.direction)[0])

    @property
    def by_landmarks(self) -> bool:
        """Whether landmarks count."""
        return self.early.process is not None

    def told(self, net: Net, arch: Arch) -> Net:
        """A net that taught nothing, with what is expected of it among its proxies."""
        loss = {LOSS: -net.proxies[LOSS]} if LOSS in net.proxies else {}
        found = self(arch, {self.metric: net.inherited, **loss})
        sign = 1.0 if self.direction == "maximise" else -1.0
        return replace(net, proxies={**net.proxies, CORRECTED: sign * found})


def foretold(traits: Traits, known: Trained, direction: Direction, landmarks: Trained | None = None) -> list[Net]:
    """The nets, each with what landmarks and the trainings of the others let expect of it among its proxies.

    `traits` knows nothing but what they are made of, `corrected` their inherited scores as well: whether a supernet is
    worth more than a regression is the difference.
    """
    sign, alone = 1.0 if direction == "maximise" else -1.0, known.alone(direction)
    found = {}
    for name, scores in ((TRAITS, False), (CORRECTED, True)):
        tables = [table for _, table in _tables(traits, known, direction, landmarks, scores=scores)]
        found[name] = sign * metric_of(left_out(tables, alone), direction)
    rows = [{name: float(values[i]) for name, values in found.items()} for i in range(len(known.nets))]
    return [replace(net, proxies={**net.proxies, **row}) for net, row in zip(known.nets, rows, strict=True)]


def _tables(
    traits: Traits, known: Trained, direction: Direction, landmarks: Trained | None, *, scores: bool
) -> list[tuple[Early, Array]]:
    """What regressions may go by: with landmarks between, if there are any, and without."""
    inherited = known.inherited(direction)[:, : None if scores else 0]
    ways = (None,) if landmarks is None or (landmarks.are_inherited and not scores) else (landmarks, None)
    earlies = [Early.fit(traits, direction, marks, scores=scores) for marks in ways]
    return [(early, early(inherited, known.archs)) for early in earlies]


def _best(tables: Sequence[Array], alone: Array) -> tuple[int, Any]:
    """Which table foretells left-out rows best, and the regression on all of it."""
    fits = [ridge().fit(table, alone) for table in tables]
    place = max(range(len(fits)), key=lambda i: float(fits[i][-1].best_score_))
    return place, fits[place]


def left_out(tables: Sequence[Array], alone: Array) -> Array:
    """What the other rows let expect of each; they also say which table is best."""
    found = np.empty(len(alone))
    for i in range(len(alone)):
        rest = np.arange(len(alone)) != i
        place, model = _best([table[rest] for table in tables], alone[rest])
        found[i] = model.predict(tables[place][i : i + 1])[0]
    others = (alone.sum() - alone) / (len(alone) - 1)
    # without a network of its own the mean is lower the better that one is: that would reverse what is left to chance
    centred: Array = found - others + alone.mean()
    return centred


def ridge() -> Any:
    """From a table to whole trainings, not yet fitted."""
    return make_pipeline(StandardScaler(), RidgeCV(PENALTIES))


def _process() -> Any:
    kernel = ConstantKernel() * RBF(5.0, (1.0, 1e3)) + WhiteKernel(0.1, (1e-3, 1e1))
    return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True))


def _log_loss(scores: Mapping[str, float]) -> list[float]:
    return [float(np.log(max(FLOOR, scores[LOSS])))] if LOSS in scores else []


def _even(metric: Array, direction: Direction) -> Array:
    """The metric where a step is worth as much everywhere and no sum is out of range: log odds, or logarithm."""
    found: Array = (
        logit(np.clip(metric, FLOOR, 1 - FLOOR)) if direction == "maximise" else np.log(np.maximum(FLOOR, metric))
    )
    return found


def metric_of(even: Array, direction: Direction) -> Array:
    """The metric of what `Trained.alone` and regressions on it give."""
    found: Array = expit(even) if direction == "maximise" else np.exp(even)
    return found
