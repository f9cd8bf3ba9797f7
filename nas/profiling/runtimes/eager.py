"""PyTorch as it is, on the CPU (thread CPU time with one thread) or a GPU (events)."""

from collections.abc import Callable

import torch
from torch import nn

from nas.errors import ConfigError
from nas.profiling.clock import clock_for
from nas.profiling.energy import energy_mj
from nas.profiling.memory import peak_memory_bytes
from nas.profiling.program import HostProgram, Program, Tensors
from nas.profiling.runtimes.contract import Facts, Runtime, Setup


class Engine(Runtime):
    """Calls the module."""

    name = "eager"
    dtypes = (torch.float32, torch.bfloat16)

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if setup.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"profile.device={setup.device} needs a CUDA device, this machine has none: use cpu")

    def version(self) -> str:
        """PyTorch's."""
        return torch.__version__

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """The module on the device in the wanted dtype."""
        placed, given = self.place(module, inputs)
        return self.program(placed, given)

    def facts(self, module: nn.Module, inputs: Tensors, program: Program) -> Facts:
        """What PyTorch allocates, and the processor's energy where it is counted."""
        placed, given = self.place(module, inputs)
        return Facts(peak_memory_bytes(placed, given), energy_mj(program))

    def place(self, module: nn.Module, inputs: Tensors) -> tuple[nn.Module, Tensors]:
        """Module and inputs on the device; whole numbers keep their dtype."""
        device, dtype = self.setup.device, self.setup.dtype
        moved = tuple(x.to(device, dtype if x.is_floating_point() else None) for x in inputs)
        return module.to(device, dtype), moved

    def program(self, call: Callable[..., object], inputs: Tensors) -> Program:
        """Calls of a placed module."""

        def outputs() -> Tensors:
            with torch.inference_mode():
                return as_tensors(call(*inputs))

        return HostProgram(lambda: call(*inputs), clock_for(self.setup.threads, self.setup.device), outputs)


def as_tensors(value: object) -> Tensors:
    """The tensors of a module's result, on the CPU."""
    leaves = torch.utils._pytree.tree_leaves(value)
    return tuple(leaf.cpu() for leaf in leaves if isinstance(leaf, torch.Tensor))
