"""What trained networks say about inherited scores: rank correlations beside rivals and a ceiling, gap and noise."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.ranking.correlation import Array, Estimate, Mask, kendall, resampled, spearman

EVIDENCE = "rank/evidence.json"
"""Where a run keeps it."""
CORRECTED = "corrected"
"""The proxy that foretells standalone scores in their own units."""
Direction = Literal["maximise", "minimise"]
Labels = NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """One architecture with its scores in the task's metric: inherited, and alone with each seed."""

    digest: str
    family: str
    size_bin: int
    """0 for the smallest."""
    inherited: float
    standalone: tuple[float, ...]
    params: float
    flops: float
    proxies: Mapping[str, float] = field(default_factory=dict)
    """By name, more being better; NaN where one has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Inherited against standalone scores, means over seeds, of some nets."""

    name: str
    nets: int
    tau: Estimate
    spearman: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What else ranks the nets: loss in the place of the metric, or something that knows no supernet."""

    name: str
    nets: int
    """Those that it has a value for."""
    tau: Estimate
    within_bins: Estimate
    """Over pairs of nets in one size bin."""
    lead: Estimate
    """Tau of the inherited scores less its own, over the same resamples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How much worse inherited scores are than standalone ones, in per cent of these; negative where better."""

    median: float | None
    low: float | None
    """Lower quartile."""
    high: float | None
    largest: float | None
    """Of the space's largest architecture; None if it was not trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations in the task's metric: over seeds, pooled, and over the nets' means."""

    seeds: float
    nets: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The whole, plain data once it went through `dataclasses.asdict`."""

    overall: Group
    within_bins: Estimate
    """Tau over pairs of nets in one size bin: what is left once size explains nothing."""
    within_families: Estimate
    """Tau over pairs in one operator family."""
    bins: tuple[Group, ...]
    families: tuple[Group, ...]
    rivals: tuple[Rival, ...]
    ceiling: Estimate
    """Tau between the means over two halves of the seeds, the mean over all ways to halve them."""
    share_of_ceiling: float | None
    gap: Gap
    noise: Noise
    corrected_error: float | None
    """Median per cent by which corrected scores are off, in either direction; None if there are none."""
    corrected_largest: float | None
    """The same of the space's largest architecture, which taught nothing."""


def evidence(
    nets: Sequence[Net], largest: Net | None, *, direction: Direction, resamples: int = 1000, seed: int = 0
) -> Evidence:
    """From nets that were trained with the same seeds; `largest` counts for its gap alone."""
    study = _Study(nets, direction, resamples, seed)
    everyone = np.ones(len(nets), dtype=bool)
    overall, ceiling = study.group("all", everyone), study.ceiling()
    tau, most = overall.tau.value, ceiling.value
    return Evidence(
        overall=overall,
        within_bins=study.within(study.bins),
        within_families=study.within(study.families),
        bins=tuple(study.groups(study.bins)),
        families=tuple(study.groups(study.families)),
        rivals=tuple(study.rivals()),
        ceiling=ceiling,
        share_of_ceiling=None if tau is None or most is None or most <= 0 else tau / most,
        gap=_gap(nets, largest, direction),
        noise=study.noise(),
        corrected_error=study.error(CORRECTED),
        corrected_largest=None if largest is None else _off(largest, direction),
    )


class _Study:
    """The scores as arrays, more being better, and one set of resamples for all statistics of all nets."""

    def __init__(self, nets: Sequence[Net], direction: Direction, resamples: int, seed: int) -> None:
        sign = 1.0 if direction == "maximise" else -1.0
        self._nets, self._resamples, self._seed = nets, resamples, seed
        self.inherited = sign * np.array([net.inherited for net in nets], dtype=np.float64)
        self.alone = sign * np.array([net.standalone for net in nets], dtype=np.float64)  # [nets, seeds]
        self.bins: Labels = np.array([str(net.size_bin) for net in nets])
        self.families: Labels = np.array([net.family for net in nets])
        self.weights = resampled(len(nets), resamples, seed)

    @cached_property
    def truth(self) -> Array:
        """Means over seeds."""
        means: Array = self.alone.mean(axis=1)
        return means

    def group(self, name: str, members: Mask) -> Group:
        """The nets of a group, resampled among themselves."""
        count = int(members.sum())
        weights = self.weights if count == len(self._nets) else resampled(count, self._resamples, self._seed)
        inherited, truth = self.inherited[members], self.truth[members]
        tau, rho = kendall(inherited, truth, weights), spearman(inherited, truth, weights)
        return Group(name=name, nets=count, tau=Estimate.of(tau), spearman=Estimate.of(rho))

    def groups(self, labels: Labels) -> Iterator[Group]:
        """One for each label."""
        for name in sorted(set(labels.tolist())):
            yield self.group(name, labels == name)

    def within(self, labels: Labels) -> Estimate:
        """Tau over the pairs that share a label."""
        return Estimate.of(kendall(self.inherited, self.truth, self.weights, _same(labels)))

    def rivals(self) -> Iterator[Rival]:
        """Size, work and the zero-cost proxies that all nets were asked for."""
        for name, values in self._rival_values().items():
            tau = kendall(values, self.truth, self.weights)
            own = kendall(np.where(np.isfinite(values), self.inherited, np.nan), self.truth, self.weights)
            yield Rival(
                name=name,
                nets=int(np.isfinite(values).sum()),
                tau=Estimate.of(tau),
                within_bins=Estimate.of(kendall(values, self.truth, self.weights, _same(self.bins))),
                lead=Estimate.of(own - tau),
            )

    def _rival_values(self) -> dict[str, Array]:
        known = [name for name in self._nets[0].proxies if all(name in net.proxies for net in self._nets)]
        found = {name: np.array([net.proxies[name] for net in self._nets]) for name in known}
        sizes = {name: np.array([getattr(net, name) for net in self._nets]) for name in ("params", "flops")}
        return {name: values.astype(np.float64) for name, values in {**sizes, **found}.items()}

    def ceiling(self) -> Estimate:
        """What standalone training with other seeds would reach in the place of the inherited scores."""
        pairs = [
            kendall(self.alone[:, list(one)].mean(axis=1), self.alone[:, list(other)].mean(axis=1), self.weights)
            for one, other in halves(self.alone.shape[1])
        ]
        return Estimate.of(np.mean(pairs, axis=0))

    def error(self, name: str) -> float | None:
        """Median per cent between the standalone scores and the proxy that foretells them."""
        if name not in (known := self._rival_values()):
            return None
        off = np.abs(known[name] - self.truth)[self.truth != 0] / np.abs(self.truth[self.truth != 0])
        return float(100 * np.median(off)) if np.isfinite(off).all() and len(off) else None

    def noise(self) -> Noise:
        """Over seeds as the root of the mean variance, so that every net counts alike."""
        over_seeds = self.alone.var(axis=1, ddof=1).mean()
        return Noise(seeds=float(over_seeds**0.5), nets=float(self.truth.std(ddof=1)))


def halves(count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every way to part so many seeds into two halves, of which one has one more if the number is odd."""
    found = []
    for one in itertools.combinations(range(count), count // 2):
        other = tuple(i for i in range(count) if i not in one)
        if len(one) < len(other) or one < other:
            found.append((one, other))
    return found


def _same(labels: Labels) -> Mask:
    same: Mask = labels[:, None] == labels
    return same


def _gap(nets: Sequence[Net], largest: Net | None, direction: Direction) -> Gap:
    found = [gap for gap in (relative_gap(net, direction) for net in nets) if gap is not None]
    low, median, high = (float(q) for q in np.quantile(found, [0.25, 0.5, 0.75])) if found else (None, None, None)
    return Gap(median=median, low=low, high=high, largest=None if largest is None else relative_gap(largest, direction))


def _off(net: Net, direction: Direction) -> float | None:
    """Per cent by which a net's corrected score is off; None without one."""
    if CORRECTED not in net.proxies:
        return None
    sign = 1.0 if direction == "maximise" else -1.0
    found = relative_gap(replace(net, inherited=sign * net.proxies[CORRECTED]), direction)
    return None if found is None else abs(found)


def relative_gap(net: Net, direction: Direction) -> float | None:
    """Per cent by which the inherited score is worse than the mean alone; None where that is 0."""
    alone = sum(net.standalone) / len(net.standalone)
    worse = alone - net.inherited if direction == "maximise" else net.inherited - alone
    return 100 * worse / abs(alone) if alone else None
