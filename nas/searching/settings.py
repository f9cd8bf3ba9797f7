"""Settings of a search and of its limits."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from nas.config import config
from nas.errors import ConfigError
from nas.searching.objectives import LATENCY, METRICS, UPPER, Constraint
from nas.tasks import Metric

Count = Annotated[int, Field(ge=1)]
Bound = Annotated[float, Field(gt=0)]


@config
class RayConfig:
    """Where the workers run: null starts Ray on this machine, `auto` or an address joins a cluster."""

    address: str | None = None
    retries: Annotated[int, Field(ge=0)] = 2


@config
class SearchConfig:
    """How to search. `budget` counts evaluations of the whole archive, so a resumed search ends at the same total."""

    strategy: str = "surrogate"
    budget: Count = 200
    workers: Annotated[int, Field(ge=0)] = 2
    """Ray actors; 0 scores in this process."""
    seed: int = 0
    name: str = "main"
    objectives: tuple[str, ...] = ("quality", "latency_ms", "params")
    first: Count = 24
    """Archs of the first design: smallest, largest, one anchor per family, the rest spread over the cost."""
    batch: Count = 4
    """Results between two refits of a strategy."""
    val_limit: Count | None = 512
    """Validation examples per evaluation; the front is scored on all of them afterwards."""
    batch_size: Count = 128
    """Examples per forward pass."""
    random_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Evaluations of the random baseline as a share of the budget; archs that the search scored cost nothing."""
    front_size: Annotated[int, Field(ge=2)] = 12
    """Archs of the front that are measured and scored on all of val."""
    ray: RayConfig = field(default_factory=RayConfig)


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
