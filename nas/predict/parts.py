"""Times of single parts: measured, smoothed by a law of their group, or by that law alone where not measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import nnls

from nas.arch import Arch
from nas.predict.contract import Array
from nas.predict.features import PartFeatures
from nas.profiling.parts import Part, arch_parts

ENOUGH = 4
GUESS = np.array([0.1, 0.02, 0.0, 0.0, 0.1, 0.0])
"""Weights of `PartFeatures.common` where nothing at all was measured: calls, flops and activations."""


@dataclass(frozen=True, slots=True)
class Law:
    """time = weights . features, with weights of at least zero, so that no part gets cheaper by doing more."""

    names: tuple[str, ...]
    weights: Array

    def __call__(self, common: Array, own: Mapping[str, float]) -> float:
        """Milliseconds."""
        numbers = np.concatenate([common, [own.get(name, 0.0) for name in self.names]])
        return float(numbers @ self.weights)


@dataclass(frozen=True, slots=True)
class PartTimes:
    """Milliseconds of any part of a space."""

    features: PartFeatures
    measured: Mapping[str, float]
    laws: Mapping[str, Law]
    pooled: Law | None
    trust: float = 1.0
    """Weight of a measurement against its group's law in the geometric mean of both; noise asks for less than one."""
    _known: dict[Part, float] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def fit(cls, times: Mapping[Part, float], features: PartFeatures) -> "PartTimes":
        """From measured times of some parts; groups with few of them scale one law of all parts."""
        groups: dict[str, list[Part]] = {}
        for part in times:
            groups.setdefault(part.group, []).append(part)
        pooled = _law(list(times), times, features, own=False) if times else None
        laws = {name: _group_law(parts, times, features, pooled) for name, parts in groups.items() if pooled}
        return cls(features, {part.key: ms for part, ms in times.items()}, laws, pooled)

    @classmethod
    def by_nets(cls, archs: Sequence[Arch], ms: Array, features: PartFeatures) -> "PartTimes":
        """From whole nets alone: one law of all parts; without nets it is a guess that only ranks."""
        if not archs:
            return cls(features, {}, {}, Law((), GUESS))
        table = np.stack([np.sum([features.common(part) for part in arch_parts(arch)], axis=0) for arch in archs])
        return cls(features, {}, {}, Law((), _weights(table, ms)))

    def ms(self, part: Part) -> float:
        """The part's time; 0 if nothing at all was measured."""
        if part not in self._known:
            self._known[part] = self._ms(part)
        return self._known[part]

    def trusting(self, trust: float) -> "PartTimes":
        """The same with another weight of single measurements."""
        return replace(self, trust=trust, _known={})

    def _ms(self, part: Part) -> float:
        measured, law = self.measured.get(part.key), self.laws.get(part.group)
        if measured is None:
            law = law or self.pooled
            return self._by_law(law, part) if law else 0.0
        expected = self._by_law(law, part) if law and self.trust < 1.0 else 0.0
        return float(measured**self.trust * expected ** (1.0 - self.trust)) if expected > 0 else measured

    def _by_law(self, law: Law, part: Part) -> float:
        return law(self.features.common(part), self.features.own(part))


def _group_law(parts: Sequence[Part], times: Mapping[Part, float], features: PartFeatures, pooled: Law) -> Law:
    if len(parts) >= ENOUGH:
        return _law(parts, times, features)
    ratios = [times[part] / pooled(features.common(part), {}) for part in parts]
    return Law((), pooled.weights * float(np.median(ratios)))


def _law(parts: Sequence[Part], times: Mapping[Part, float], features: PartFeatures, *, own: bool = True) -> Law:
    knobs = [features.own(part) if own else {} for part in parts]
    names = tuple(sorted({name for found in knobs for name in found}))
    rows = [
        np.concatenate([features.common(p), [k.get(n, 0.0) for n in names]]) for p, k in zip(parts, knobs, strict=True)
    ]
    return Law(names, _weights(np.stack(rows), np.array([times[part] for part in parts])))


def _weights(table: Array, wanted: Array) -> Array:
    scale = np.abs(table).max(0)
    scale[scale == 0] = 1.0
    # dividing by the time makes relative errors count
    weights, _ = nnls(table / scale / wanted[:, None], np.ones(len(wanted)))
    found: Array = weights / scale
    return found
