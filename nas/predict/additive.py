"""Latency as a sum over parts: one time for each part, learned from isolated parts and from whole nets together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self

import numpy as np

from nas.arch import NONE, Arch
from nas.errors import MeasurementError
from nas.predict.census import Census, Codes
from nas.predict.contract import Array
from nas.predict.features import PartFeatures
from nas.predict.gaussian import Gaussian
from nas.predict.parts import PartTimes
from nas.predict.prior import ISOLATED, UNTIMED, prior
from nas.profiling.table import Row
from nas.shapes import TaskShape
from nas.space import SearchSpace

TRUSTS = (1.0, 0.5, 0.0)
NOISES = (0.015, 0.03, 0.06, 0.12)
FLOOR = 0.1
"""No net is predicted below this share of what the prior says, whatever other nets say."""
CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Additive:
    """time = sum of part times + a cost for each kind of part that is present + a constant."""

    census: Census
    times: PartTimes
    prior: Gaussian
    known: frozenset[str]
    """Operators that some row holds."""
    weights: Array
    """Milliseconds, for the columns of `Census.table`."""
    noise: float = NOISES[1]
    """Relative; it decides how far the nets pull the weights away from the prior."""

    @classmethod
    def fit(cls, parts: Sequence[Row], nets: Sequence[Row], space: SearchSpace, shape: TaskShape) -> Self:
        """From rows at one pace: times of parts, and whole nets. Parts and nets may both be none.

        How far single part measurements are trusted, and how far the nets, is chosen by leave-one-out error.
        """
        census, features = Census(space), PartFeatures.of(space, shape)
        by_key = {part.key: part for part in census.parts}
        measured = {by_key[row.name]: row.median_ms for row in parts if row.name in by_key}
        archs, wanted = [row.network() for row in nets], np.array([row.median_ms for row in nets])
        times = PartTimes.fit(measured, features) if measured else PartTimes.by_nets(archs, wanted, features)
        known = {part.operator.name for part in measured} | {b.operator.name for a in archs for b in a.blocks}
        drafts = [
            cls.around(census, times.trusting(trust), frozenset(known | {NONE}), timed=bool(measured))
            for trust in (TRUSTS if measured else TRUSTS[:1])
        ]
        if not archs:
            return drafts[0]
        table = census.table(archs)
        noisy = [replace(draft, noise=noise) for draft in drafts for noise in NOISES]
        errors = [float(np.abs(draft.prior.left_out(table, wanted, draft.noise)).mean()) for draft in noisy]
        return noisy[int(np.argmin(errors))].observed(archs, wanted)

    @classmethod
    def around(cls, census: Census, times: PartTimes, known: frozenset[str], *, timed: bool) -> Self:
        """Before any net was seen, around these part times; `timed` if they were measured on parts."""
        mean = np.zeros(census.width)
        mean[: len(census.parts)] = [times.ms(part) for part in census.parts]
        start = prior(census, times.features, mean, ISOLATED if timed else UNTIMED)
        return cls(census, times, start, known, mean)

    def observed(self, archs: Sequence[Arch], wanted: Array) -> Self:
        """The same prior, with weights that know these nets' milliseconds and no others'."""
        found = self.prior.observe(self.census.table(archs), wanted, self.noise) if archs else self.prior
        return replace(self, weights=found.mean)

    def predict(self, archs: Sequence[Arch]) -> Array:
        """Milliseconds `[len(archs)]`; a million archs take seconds and a few megabytes."""
        found = [self.of_codes(codes) for codes in self.chunks(archs)]
        return np.concatenate(found) if found else np.zeros(0)

    def chunks(self, archs: Sequence[Arch]) -> Iterator[Codes]:
        """The archs' codes, some thousands at a time; `MeasurementError` for an operator that was never measured."""
        rest = iter(archs)
        while piece := list(islice(rest, CHUNK)):
            codes = self.census.codes(piece)
            self._check(codes)
            yield codes

    def of_codes(self, codes: Codes) -> Array:
        """Milliseconds `[len(codes)]`."""
        found = self._sum(self.weights, codes)
        return np.asarray(np.maximum(found, FLOOR * self._sum(self.prior.mean, codes)))

    def code_ms(self, weights: Array) -> Array:
        """`[codes]`: milliseconds of each code's parts at these weights."""
        found: Array = np.append(weights[: len(self.census.parts)], 0.0)[self.census.members()].sum(1)
        return found

    def _sum(self, weights: Array, codes: Codes) -> Array:
        ms, kinds = self.code_ms(weights), self.census.has_kind()
        first = weights[len(self.census.parts) : -2] + weights[-2]
        total: Array = np.full(len(codes), weights[-1])
        present = np.zeros((len(codes), kinds.shape[1]), dtype=bool)
        for column in codes.T:
            total += ms[column]
            present |= kinds[column]
        return np.asarray(total + present @ first)

    def _check(self, codes: Codes) -> None:
        names = np.array([*(part.operator.name for part in self.census.parts), NONE])[self.census.members()]
        strange = ~np.isin(names, list(self.known))
        if not strange.any() or not np.any(strange[codes]):
            return
        name = names[codes][strange[codes]][0]
        raise MeasurementError(
            f"a latency is predicted only for measured operators, {str(name)!r} is not in the table: run `nas profile` "
            "on this space, or raise profile.minutes"
        )
