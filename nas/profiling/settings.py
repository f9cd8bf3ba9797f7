"""Settings of the profile."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from nas.config import config
from nas.profiling import runtimes
from nas.profiling.device import Device, fingerprint
from nas.profiling.runtimes import Runtime, Setup
from nas.profiling.timer import TimerConfig
from nas.profiling.workload import Phase, Workload, workload
from nas.run import Run
from nas.shapes import TaskShape
from nas.space import SearchSpace

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
TABLES = "devices"


@config
class ProfileConfig:
    """What a latency means (runtime, threads, workload) and how much time may go into measuring it."""

    minutes: Annotated[float, Field(gt=0)] = 1.0
    """For what the predictor is fitted to: parts, then whole nets until they are spent."""
    runtime: str = "eager"
    command: str = ""
    """Command runtime: the program that times an ONNX file, such as `adb shell … {model} {repeats}`."""
    device_name: str = ""
    """Command runtime: what the device behind the command is called."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    threads: Count = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch: Count = 1
    tokens: Count | None = None
    image_size: Count | None = None
    phase: Phase = "prefill"
    cache: Count | None = None
    held_out_nets: Annotated[int, Field(ge=2)] = 40
    """Nets that the predictor never sees, measured on top of the minutes: its exam."""
    repeat_nets: Annotated[int, Field(ge=0)] = 8
    """Held-out nets measured a second time at the end: what of the error is the measurement's own."""
    max_noise: Share = 0.1
    """Largest mean relative deviation of repeated timings of one net at which measuring makes sense."""
    table: str | None = None
    """Folder of the tables that all runs on this device share; None: `devices` beside the run folder."""
    timer: TimerConfig = TimerConfig()

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights and inputs."""
        return torch.float32 if self.dtype == "float32" else torch.bfloat16

    def engine(self) -> Runtime:
        """The runtime, ready; raises here if it is not installed or cannot do what is asked."""
        setup = Setup(
            threads=self.threads,
            device=self.device,
            dtype=self.torch_dtype,
            command=self.command,
            device_name=self.device_name,
            timeout_s=self.timeout_s,
        )
        return runtimes.get(self.runtime)(setup)

    def fingerprint(self) -> Device:
        """This machine under these settings."""
        version = self.engine().version()
        return fingerprint(self.threads, self.device, dtype=self.dtype, runtime=self.runtime, version=version)

    def workload(self, space: SearchSpace, shape: TaskShape) -> Workload:
        """What the networks of a task are given."""
        return workload(
            space,
            shape,
            batch=self.batch,
            tokens=self.tokens,
            image_size=self.image_size,
            phase=self.phase,
            cache=self.cache,
        )

    def tables(self, run: Run) -> Run:
        """The folder of the device tables."""
        return Run.at(Path(self.table) if self.table else run.path.parent / TABLES)
