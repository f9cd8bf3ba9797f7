"""Settings of `nas tune`."""

import itertools
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field

from nas.config import config
from nas.searching.settings import RayConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ALL = 1 - 1e-9


@config
class AshaConfig:
    """When a retraining is stopped: at marks of its steps, if its metric on val is not among the best so far."""

    grace: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the steps before the first mark; 1 stops none."""
    reduction: Annotated[float, Field(gt=1)] = 2.0
    """Each mark is so many times behind the one before it, and the best `1 / reduction` pass it."""

    @property
    def marks(self) -> tuple[float, ...]:
        """Shares of the steps at which the metric is taken; the last is the end."""
        powers = (self.grace * self.reduction**k for k in itertools.count())
        return (*itertools.takewhile(lambda mark: mark < ALL, powers), 1.0)


@config
class TuneConfig:
    """Which jobs are compared, and how many at a time."""

    job: Literal["search", "retrain"] = "search"
    over: dict[str, list[Any]] | None = None
    """Settings with the values they take; each combination is a trial."""
    name: Name = "main"
    archs: tuple[str, ...] = ()
    """Retraining: digests of the front of `search.name`; none is all of them."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at a time; None is as many as there is room for."""
    ray: RayConfig = field(default_factory=RayConfig)
    """Where trials run and what each asks for; `retries`: how often one that failed goes on from where it was."""
    asha: AshaConfig = field(default_factory=AshaConfig)

    def __post_init__(self) -> None:
        if self.ray.env_vars:
            raise ValueError("ray.env_vars does not reach trials: export such variables where Ray is started")
