"""Settings of a search and of its limits."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nas.config import config
from nas.errors import ConfigError
from nas.searching import strategies
from nas.searching.loop import Pace
from nas.searching.objectives import LATENCY, METRICS, UPPER, Constraint
from nas.tasks import Metric

Count = Annotated[int, Field(ge=1)]
Bound = Annotated[float, Field(gt=0)]


@config
class RayConfig:
    """Where the workers run and what each of them asks for.

    `address`: null starts Ray on this machine, unless RAY_ADDRESS is set; `auto` or an address joins a cluster.
    """

    address: str | None = None
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a point whose worker died is asked again before its evaluation counts as failed."""
    num_cpus: Annotated[float, Field(ge=0)] = 1.0
    num_gpus: Annotated[float, Field(ge=0)] = 0.0
    """0.25: four workers share a GPU."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = field(default_factory=dict)
    """Amounts of the cluster's own kinds of resources."""
    env_vars: dict[str, str] = field(default_factory=dict)
    """Environment of the workers."""

    def __post_init__(self) -> None:
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"num_gpus is a part of one GPU or a whole number of them; got {self.num_gpus}")


def _rungs(shares: tuple[float, ...]) -> tuple[float, ...]:
    if not shares or shares[-1] != 1.0 or list(shares) != sorted(set(shares)):
        raise ValueError(f"fidelities must ascend and end with 1, such as [0.1, 1]; got {list(shares)}")
    return shares


Ends = tuple[float | None, float | None]


@config
class SearchOptions:
    """How to search, whatever the space and the objective are; what `nas.search` takes beside them."""

    strategy: Annotated[str, AfterValidator(strategies.known)] = "surrogate"
    budget: Count = 200
    """Evaluations of the whole archive, in full ones, so that a resumed search ends at the same total."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Ray actors; 0 scores in this process."""
    seed: int = 0
    first: Count = 24
    """Points of the first design: the space's corners, the rest spread over all choices and over the cost."""
    batch: Count = 4
    """Results between two refits of a strategy; the surrogate takes more as the archive grows."""
    fidelities: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], AfterValidator(_rungs)] = (1.0,)
    """Shares of a full evaluation, ascending to 1: a point climbs only while it may still enter the front."""
    reproducible: bool = False
    """The same seed and number of workers give the same search, whoever is faster; all wait for a worker that is
    several times slower than the others."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Longest time of one evaluation; beyond it, it counts as failed."""
    prefer: Literal["front", "knee"] | dict[str, Ends] = "front"
    """The part of the front that is wanted: all, around the knee, or within ends of some objectives."""
    ray: RayConfig = field(default_factory=RayConfig)

    @property
    def pace(self) -> Pace:
        """How evaluations follow each other."""
        return Pace(fidelities=self.fidelities, reproducible=self.reproducible)


@config
class SearchConfig(SearchOptions):
    """How to search the subnets of a supernet."""

    workers: Annotated[int, Field(ge=0)] = 2
    name: str = "main"
    start: tuple[str, ...] = ()
    """Names of earlier searches of this run, or archive files, whose fronts are scored first."""
    objectives: tuple[str, ...] = ("quality", "latency_ms", "params")
    val_limit: Count | None = None
    """Validation examples per evaluation; None: as many as the task needs. The front is scored on all afterwards."""
    batch_size: Count = 128
    """Examples per forward pass."""
    random_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Evaluations of the random baseline as a share of the budget; archs that the search scored cost nothing."""
    front_size: Annotated[int, Field(ge=2)] = 12
    """Archs of the front that are measured and scored on all of val."""


@config
class ConstraintsConfig:
    """Limits: upper bounds on costs and on bits per byte, a lower bound on accuracy."""

    latency_ms: Bound | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Probability with which a network that the search takes is within `latency_ms` once it is measured."""
    params: Bound | None = None
    flops: Bound | None = None
    kv_cache_bytes: Bound | None = None
    accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None
    bits_per_byte: Bound | None = None


def named_constraints(limits: ConstraintsConfig, metric: Metric) -> tuple[Constraint, ...]:
    """The limits that are set; `ConfigError` for one on a metric that the task does not have."""
    bounds = {name: getattr(limits, name) for name in ("latency_ms", "params", "flops", "kv_cache_bytes", *METRICS)}
    if wrong := [name for name in METRICS if bounds[name] is not None and name != metric.name]:
        raise ConfigError(
            f"constraints.{wrong[0]} needs a task that is judged by it, and this one is judged by {metric.name}: "
            f"set constraints.{metric.name} instead"
        )
    return tuple(_constraint(name, bound, limits) for name, bound in bounds.items() if bound is not None)


def _constraint(name: str, bound: float, limits: ConstraintsConfig) -> Constraint:
    if name == LATENCY:
        label = f"{LATENCY} at {limits.confidence:.0%} confidence"
        return Constraint(name=UPPER, bound=bound, label=label)
    return Constraint(name=name, bound=bound, direction=METRICS.get(name, "minimise"))
