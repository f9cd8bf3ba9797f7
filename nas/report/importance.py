"""Which choices decide quality and latency: permutation importance (Breiman 2001) over everything evaluated.

A choice with a large share moves the number most among the archs that the search looked at; it may still be the same on
the whole front, which is what the two means tell apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.arch import NONE, Arch
from nas.report.families import unique
from nas.report.read import Record
from nas.report.stacks import NO_MIXING, family

LEAST, MOST = 40, 1500
"""Archs below which nothing is said, and to which more are thinned."""
TREES, REPEATS = 60, 5
Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """One choice: the explained variance that is lost when its values are shuffled, and its mean."""

    choice: str
    quality: float
    latency: float
    mean: float
    """Over all evaluated archs."""
    front: float | None
    """Over the measured front; None without one."""


@dataclass(frozen=True, slots=True)
class Importances:
    """The most important choices first; how much variance of held-out archs the forests explain."""

    archs: int
    quality_r2: float
    latency_r2: float
    choices: tuple[Importance, ...]


def importances(record: Record) -> Importances | None:
    """From forests over the evaluated archs, a third of them held out; None for fewer than `LEAST`."""
    points = unique(record)
    points = points[:: max(1, -(-len(points) // MOST))]
    if len(points) < LEAST:
        return None
    columns = choices([point.arch for point in points])
    names = [name for name, values in columns.items() if np.ptp(values) > 0]
    features = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(points), 0))
    if not names:
        return None
    scores = [
        _shuffled(features, np.array([point.values[key] for point in points])) for key in (record.metric, "latency_ms")
    ]
    edge = choices([point.arch for point in record.front if point.is_front])
    found = [
        Importance(
            choice=name,
            quality=float(scores[0][1][i]),
            latency=float(scores[1][1][i]),
            mean=float(columns[name].mean()),
            front=_mean(edge, name),
        )
        for i, name in enumerate(names)
    ]
    found.sort(key=lambda one: -max(one.quality, one.latency))
    return Importances(len(points), scores[0][0], scores[1][0], tuple(found))


def choices(archs: Sequence[Arch]) -> dict[str, Column]:
    """Each arch's choices as numbers, one column per choice; means over its blocks where a choice is one of a block."""
    families = sorted({family(block.operator.name) for arch in archs for block in arch.blocks} - {NO_MIXING})
    rows = [_row(arch, families) for arch in archs]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _row(arch: Arch, families: Sequence[str]) -> dict[str, float]:
    blocks = arch.blocks
    count = max(1, len(blocks))
    row = {"blocks": float(len(blocks)), "width": float(np.mean([stage.embed_dim for stage in arch.stages]))}
    row["FFN ratio"] = sum(block.ffn.ratio for block in blocks if block.ffn.kind != NONE) / count
    row["gated blocks, share"] = sum(block.gate != NONE for block in blocks) / count
    named = [family(block.operator.name) for block in blocks]
    row |= {f"{name} blocks, share": named.count(name) / count for name in families}
    for knob, title in (("num_heads", "heads"), ("num_kv_heads", "key and value heads"), ("head_dim", "head width")):
        row[title] = _known([dict(block.operator.knobs).get(knob) for block in blocks])
    return row


def _known(values: Sequence[object]) -> float:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return sum(numbers) / len(numbers) if numbers else 0.0


def _shuffled(features: Column, target: Column) -> tuple[float, Column]:
    """R² on held-out rows, and how much of it each shuffled column loses."""
    from sklearn.ensemble import RandomForestRegressor  # slow to import, and no other section needs it
    from sklearn.inspection import permutation_importance

    order = np.random.default_rng(0).permutation(len(target))
    held, fitted = np.split(order, [len(order) // 3])
    forest = RandomForestRegressor(n_estimators=TREES, min_samples_leaf=3, random_state=0, n_jobs=1)
    forest.fit(features[fitted], target[fitted])
    if np.ptp(target[held]) == 0:
        return 0.0, np.zeros(features.shape[1])
    lost = permutation_importance(forest, features[held], target[held], n_repeats=REPEATS, random_state=0, n_jobs=1)
    return float(forest.score(features[held], target[held])), np.maximum(0.0, lost["importances_mean"])


def _mean(columns: Mapping[str, Column], name: str) -> float | None:
    return float(columns[name].mean()) if name in columns else None
