"""What a search optimises and must respect, and the values that need no weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas.arch import Arch
from nas.errors import ConfigError
from nas.pareto import Direction
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import network_cost
from nas.tasks import LOSS, Metric

QUALITY, LATENCY = "quality", "latency_ms"
STANDALONE = "standalone"
"""The task's metric that an arch is expected to reach when it is trained alone."""
UPPER = "latency_upper_ms"
"""What a predicted latency stays below with the confidence that was asked for."""
COUNTED = ("params", "flops", "kv_cache_bytes")
METRICS: Mapping[str, Direction] = {"accuracy": "maximise", "bits_per_byte": "minimise"}

Values = Mapping[str, float]
Predict = Callable[[Sequence[Arch]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Objective:
    """A value and which way is better."""

    name: str
    direction: Direction = "minimise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A bound on a value: from above where less is better, from below where more is."""

    name: str
    bound: float
    direction: Direction = "minimise"
    label: str = ""
    """What people read instead of the name."""

    def violation(self, values: Values) -> float:
        """How far the value is beyond the bound as a share of it; 0 if it is within."""
        sign = 1.0 if self.direction == "minimise" else -1.0
        return max(0.0, sign * (values[self.name] - self.bound)) / max(abs(self.bound), 1e-12)

    def __str__(self) -> str:
        return f"{self.label or self.name} {'<=' if self.direction == 'minimise' else '>='} {self.bound:g}"


def named_objectives(names: Sequence[str], metric: Metric) -> tuple[Objective, ...]:
    """The objectives of these names, of which `quality` stands for the task's metric."""
    known = (QUALITY, LOSS, STANDALONE, LATENCY, *COUNTED)
    if unknown := [name for name in names if name not in (*known, metric.name)]:
        raise ConfigError(f"search.objectives may hold {', '.join(known)}; got {', '.join(map(repr, unknown))}")
    if len(set(names)) != len(names) or len(names) < 2:
        raise ConfigError(f"search.objectives needs two or more different names, got {list(names)}")
    task = {name: Objective(metric.name, metric.direction) for name in (QUALITY, metric.name)}
    task[STANDALONE] = Objective(STANDALONE, metric.direction)
    return tuple(task.get(name, Objective(name)) for name in names)


class CheapObjectives:
    """Params, flops, cache bytes and, given predictors, latency and its upper bound of many archs at once.

    Computed once per arch.
    """

    def __init__(
        self, space: SearchSpace, shape: TaskShape, predict: Predict | None = None, upper: Predict | None = None
    ) -> None:
        self._space, self._shape = space, shape
        self._predictors = {name: f for name, f in ((LATENCY, predict), (UPPER, upper)) if f is not None}
        self._known: dict[str, Values] = {}

    def __call__(self, archs: Sequence[Arch]) -> list[Values]:
        """Values by name, one mapping per arch, latency in milliseconds."""
        new = list({arch.digest: arch for arch in archs if arch.digest not in self._known}.values())
        counted = [self._count(arch) for arch in new]
        for name, predict in self._predictors.items() if new else ():
            times = [float(ms) for ms in predict(new)]
            counted = [{**values, name: ms} for values, ms in zip(counted, times, strict=True)]
        self._known.update({arch.digest: values for arch, values in zip(new, counted, strict=True)})
        return [self._known[arch.digest] for arch in archs]

    def _count(self, arch: Arch) -> dict[str, float]:
        cost = network_cost(self._space.frame, self._shape, arch)
        return {name: float(getattr(cost, name)) for name in COUNTED}
