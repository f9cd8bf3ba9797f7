"""Settings of the profile."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from nas.config import config
from nas.errors import ConfigError
from nas.profiling.device import Device, fingerprint
from nas.profiling.timer import TimerConfig

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@config
class ProfileConfig:
    """What a latency means (threads, batch, dtype, device) and how much time may go into measuring it.

    The budget ends the stage, the counts of nets only cap it; twenty held-out nets are measured in any case.
    """

    seconds: Annotated[float, Field(gt=0)] = 60.0
    threads: Count = 1
    batch: Count = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    fit_nets: Annotated[int, Field(ge=10)] = 150
    held_out_nets: Annotated[int, Field(ge=10)] = 60
    min_held_out: Annotated[int, Field(ge=0)] = 20
    repeat_nets: Annotated[int, Field(ge=0)] = 8
    """Held-out nets measured a second time at the end: what of the error is the measurement's own."""
    max_noise: Share = 0.1
    """Largest mean relative deviation of repeated timings of one net at which measuring makes sense."""
    timer: TimerConfig = TimerConfig()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights and inputs."""
        return torch.float32 if self.dtype == "float32" else torch.bfloat16

    def fingerprint(self) -> Device:
        """This machine under these settings."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"profile.device={self.device} needs a CUDA device, this machine has none: use cpu")
        return fingerprint(self.threads, self.device, dtype=self.dtype)
