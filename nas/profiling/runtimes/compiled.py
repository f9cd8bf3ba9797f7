"""`torch.compile` with static shapes: what PyTorch's own compiler makes of a network on this device."""

import torch
from torch import nn

from nas.profiling.program import Program, Tensors
from nas.profiling.runtimes import eager
from nas.profiling.runtimes.contract import Facts, Runtime


class Engine(eager.Engine):
    """Compiles each module once, by default 5 to 60 seconds each, so give the profile time."""

    name = "compiled"
    tolerance = 1e-4

    def facts(self, module: nn.Module, inputs: Tensors, program: Program) -> Facts:
        """Energy alone: what compiled code allocates is not seen."""
        return Runtime.facts(self, module, inputs, program)

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """The compiled module, its first call done; earlier ones are forgotten, since their shapes never return."""
        placed, given = self.place(module, inputs)
        torch.compiler.reset()
        compiled = torch.compile(placed, dynamic=False)
        with torch.inference_mode():
            compiled(*given)
        return self.program(compiled, given)
