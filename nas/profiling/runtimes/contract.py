"""What a runtime is: it makes a module ready to run and says how long calls of it take."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import torch
from torch import nn

from nas.errors import ConfigError, MeasurementError, MissingDependencyError
from nas.profiling.energy import energy_mj
from nas.profiling.program import Program, Tensors
from nas.profiling.timer import TimerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings that a runtime runs under."""

    threads: int = 1
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    command: str = ""
    device_name: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one call beside its time; None where it cannot be known."""

    peak_memory_bytes: int | None = None
    energy_mj: float | None = None


class Runtime(ABC):
    """One way to run a network; `__init__` refuses what cannot work here, before anything long starts."""

    name: ClassVar[str]
    tolerance: ClassVar[float] = 1e-5
    """Largest difference of float32 outputs from the supernet's slice, relative to their size above one."""
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32,)

    def __init__(self, setup: Setup) -> None:
        if setup.dtype not in self.dtypes:
            able = " or ".join(str(dtype).removeprefix("torch.") for dtype in self.dtypes)
            raise ConfigError(f"runtime {self.name!r} runs {able}, got {setup.dtype}: change profile.dtype")
        self.setup = setup

    @abstractmethod
    def version(self) -> str:
        """Version of the software that runs the networks."""

    @abstractmethod
    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """The module made ready; `MeasurementError` if this runtime cannot run it."""

    def prepare_all(self, modules: Sequence[tuple[nn.Module, Tensors]]) -> list[Program | MeasurementError]:
        """Each made ready, or the reason why it cannot be; runtimes that take long for one may do several at once."""
        return [self._tried(module, inputs) for module, inputs in modules]

    def _tried(self, module: nn.Module, inputs: Tensors) -> Program | MeasurementError:
        try:
            return self.prepare(module, inputs)
        except MeasurementError as error:
            return error

    def facts(self, module: nn.Module, inputs: Tensors, program: Program) -> Facts:
        """Memory and energy of a call, as far as they can be measured here."""
        return Facts(energy_mj=energy_mj(program))

    def timer(self, usual: TimerConfig) -> TimerConfig:
        """The timer settings that suit the runtime."""
        return usual


def cpu_only(runtime: Runtime) -> None:
    """Refuses a device that the runtime does not reach."""
    if runtime.setup.device != "cpu":
        raise ConfigError(
            f"runtime {runtime.name!r} measures on the CPU, got profile.device={runtime.setup.device}: use cpu, or "
            "profile.runtime=eager or cuda_graph"
        )


def package_version(package: str, extra: str = "") -> str:
    """The installed version; `MissingDependencyError` says what to install."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        wanted = f"'attention-nas[{extra}]'" if extra else package
        raise MissingDependencyError(
            f"this runtime needs the package {package}, which is not installed: pip install {wanted}"
        ) from error
