"""From a predictor of one device and workload to one of another, by a few whole nets measured there."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.predict.additive import FLOOR, NOISES, Additive
from nas.predict.census import Census
from nas.predict.contract import Array, PredictConfig
from nas.predict.features import PartFeatures
from nas.predict.fit import POOL
from nas.predict.gaussian import most_telling
from nas.predict.learned import Corrected, correct
from nas.predict.prior import Deviations, prior
from nas.profiling.table import Row, at_one_pace
from nas.shapes import TaskShape
from nas.space import SearchSpace

ELSEWHERE = Deviations(
    single=0.02,
    group=0.5,
    width=0.03,
    overall=0.5,
    group_call=0.1,
    call=0.3,
    group_cost=0.03,
    cost=0.3,
    first=0.1,
    net=0.5,
)
"""From one device or workload to another: wide where parts have an effect in common, narrow for each alone."""


def transfer(
    old: Corrected,
    rows: Sequence[Row],
    space: SearchSpace,
    shape: TaskShape,
    *,
    batch: float = 1.0,
    config: PredictConfig | None = None,
) -> Corrected:
    """The predictor of the table that these rows are of, from the old one and the rows' whole nets; ten are enough.

    The shape may be another than the old predictor's, `batch` is the new batch size over its. A learned correction of
    the old predictor is dropped. `MeasurementError` without rows of whole nets of the space.
    """
    nets = [row for row in at_one_pace(rows) if row.kind == "net" and row.split != "held_out"]
    nets = [row for row in nets if row.split != "repeat" and row.network() in space]
    if not nets:
        raise MeasurementError(
            f"a transfer needs whole nets of space {space.frame.name!r} measured at the new place, got none in "
            f"{len(rows)} rows: measure those that plan_transfer names"
        )
    archs, wanted = [row.network() for row in nets], np.array([row.median_ms for row in nets])
    draft = _moved(old.additive, space, PartFeatures.of(space, shape, old.additive.times.features.batch * batch))
    scale = float(np.exp(np.median(np.log(wanted / draft.predict(archs)))))
    start = _around(draft, draft.weights * scale)
    scored = np.ones(len(archs), dtype=bool)
    return correct(start, archs, wanted, scored, config or PredictConfig(correction="none"))


def plan_transfer(
    old: Corrected,
    space: SearchSpace,
    shape: TaskShape,
    candidates: Sequence[Arch],
    count: int = 10,
    *,
    batch: float = 1.0,
) -> list[Arch]:
    """The candidates that a transfer should measure, the most telling first; at most a thousand are looked at."""
    features = PartFeatures.of(space, shape, old.additive.times.features.batch * batch)
    draft = _moved(old.additive, space, features)
    pool = candidates[:: max(1, len(candidates) // max(POOL, count))]
    return [pool[i] for i in most_telling(draft.prior.relative(draft.census.table(pool)), draft.noise, count)]


def _moved(old: Additive, space: SearchSpace, features: PartFeatures) -> Additive:
    """The old weights for the new shape, each part by the ratio of its closed-form costs, before anything is fitted."""
    census = Census(space)
    own = len(old.census.parts)
    times = zip(old.weights[:own], old.prior.mean[:own], strict=True)
    parts = dict(zip(old.census.parts, times, strict=True))
    kinds = dict(zip(old.census.kinds, old.weights[own:-2], strict=True))
    weights = np.zeros(census.width)
    for i, part in enumerate(census.parts):
        now, before = parts.get(part) or (old.times.ms(part),) * 2
        weights[i] = max(now, FLOOR * before) * features.growth(old.times.features, part)
    weights[len(census.parts) : -2] = [kinds.get(kind, 0.0) for kind in census.kinds]
    weights[-2:] = old.weights[-2:]
    moved = replace(
        old, census=census, times=replace(old.times, features=features, _known={}), weights=weights, noise=NOISES[1]
    )
    return _around(moved, weights)


def _around(additive: Additive, mean: Array) -> Additive:
    return replace(additive, prior=prior(additive.census, additive.times.features, mean, ELSEWHERE), weights=mean)
