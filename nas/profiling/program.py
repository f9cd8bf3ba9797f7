"""A network ready to be timed: what a runtime makes of a module and its inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nas.profiling.clock import Clock

Tensors = tuple[Tensor, ...]


class Program(Protocol):
    """A module and its inputs, ready on a runtime."""

    @property
    def clock(self) -> str:
        """Name of the clock, since times of different clocks do not compare."""

    def outputs(self) -> Tensors:
        """What one call gives, on the CPU; empty where the runtime does not show it."""

    def elapsed_ms(self, count: int) -> float:
        """Milliseconds of `count` calls together, after one that is not timed and warms the caches."""


@dataclass(frozen=True, slots=True)
class HostProgram:
    """A program that is called in this process."""

    call: Callable[[], object]
    timed_by: Clock
    show: Callable[[], Tensors]

    @property
    def clock(self) -> str:
        """Name of the clock."""
        return self.timed_by.name

    def outputs(self) -> Tensors:
        """What one call gives."""
        return self.show()

    def elapsed_ms(self, count: int) -> float:
        """Milliseconds of `count` calls; other programs ran before, so one call first brings the caches back."""
        self.call()
        return self.timed_by.elapsed_ms(self.call, count)


class Rotating:
    """Copies of one program, timed in turn: where a copy's arrays happen to lie moves its time by a per cent."""

    def __init__(self, copies: Sequence[Program]) -> None:
        self._copies, self._next = copies, 0

    @property
    def clock(self) -> str:
        """Name of the clock."""
        return self._copies[0].clock

    def outputs(self) -> Tensors:
        """What one call gives."""
        return self._copies[0].outputs()

    def elapsed_ms(self, count: int) -> float:
        """Milliseconds of `count` calls of the next copy."""
        self._next = (self._next + 1) % len(self._copies)
        return self._copies[self._next].elapsed_ms(count)
