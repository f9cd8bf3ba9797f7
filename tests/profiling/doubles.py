"""A runtime without a clock: times follow from what a module is, and every module that was made ready is remembered."""

from collections.abc import Sequence

import torch
from torch import nn

from nas.profiling.memory import peak_memory_bytes
from nas.profiling.modules import tensors_of
from nas.profiling.program import Program, Tensors
from nas.profiling.runtimes import Facts, Runtime, Setup
from nas.profiling.timer import Timing


def steady(ms: float) -> Timing:
    return Timing(median_ms=ms, low_ms=ms, high_ms=ms, repeats=9, clock="fake")


def weighed(module: nn.Module) -> float:
    return 0.1 + sum(p.numel() for p in module.parameters()) / 1e4


class FakeProgram:
    """Takes a known time per call, times how slow the machine is at that moment."""

    clock = "fake"

    def __init__(self, ms: float, pace: Sequence[float] = (1.0,), shown: Tensors = ()) -> None:
        self.ms, self.pace, self.shown, self.at = ms, pace, shown, 0

    def outputs(self) -> Tensors:
        return self.shown

    def elapsed_ms(self, count: int) -> float:
        self.at += 1
        return count * self.ms * self.pace[self.at % len(self.pace)]


class FakeRuntime(Runtime):
    name = "eager"

    def __init__(self, error: float = 0.0) -> None:
        super().__init__(Setup())
        self.prepared: list[nn.Module] = []
        self.error = error

    def version(self) -> str:
        return "1"

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        self.prepared.append(module)
        with torch.no_grad():
            shown = tuple(y + self.error for y in tensors_of(module(*inputs)))
        return FakeProgram(weighed(module), shown=shown)

    def facts(self, module: nn.Module, inputs: Tensors, program: Program) -> Facts:
        return Facts(peak_memory_bytes(module, inputs))
