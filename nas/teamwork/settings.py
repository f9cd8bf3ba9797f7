"""Settings of a training on several processes."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from nas.config import config
from nas.searching.settings import RayConfig


@config
class TeamConfig:
    """How many processes train the supernet, and where; the global batch is `train.batch_size`, whatever their number.

    `ray.retries`: how often training goes on from its last state after a process or a node is lost.
    """

    workers: Annotated[int, Field(ge=1)] = 1
    """1 trains in the process of `nas train` itself."""
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        if self.ray.env_vars:
            raise ValueError("ray.env_vars does not reach these processes: export such variables where Ray is started")
