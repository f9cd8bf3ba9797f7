"""ONNX Runtime on the CPU: the module as a static ONNX file, and a session that runs it."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.errors import MeasurementError
from nas.profiling.clock import clock_for
from nas.profiling.program import HostProgram, Program, Rotating, Tensors
from nas.profiling.runtimes.contract import Runtime, Setup, cpu_only, package_version
from nas.profiling.timer import TimerConfig
from nas.programs import onnx_bytes, trace

PROVIDERS = ["CPUExecutionProvider"]
COPIES = 3
WORKERS = min(8, os.cpu_count() or 1)
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Portable:
    """A module as an ONNX file's content, with the arrays that its inputs `x0`, `x1`, ... were traced at."""

    content: bytes
    arrays: Mapping[str, np.ndarray[Any, Any]]


class Engine(Runtime):
    """Thread CPU time with one thread, since the session then works on the calling one; else wall time."""

    name = "onnxruntime"
    tolerance = 1e-4

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        cpu_only(self)
        self.version()
        self._pool: ProcessPoolExecutor | None = None

    def version(self) -> str:
        """The package's."""
        return package_version("onnxruntime")

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """Sessions whose inputs are bound once, so that a call is the network and little else."""
        portable = export(self.name, module, inputs)
        return self._rotating(portable)

    def prepare_all(self, modules: Sequence[tuple[nn.Module, Tensors]]) -> list[Program | MeasurementError]:
        """Exported on all cores, since that takes longer than measuring; nothing is timed meanwhile."""
        if len(modules) < 2 or WORKERS < 2:
            return super().prepare_all(modules)
        try:
            exported = list(self._exporters().map(_exported, [(self.name, *given) for given in modules]))
        except BrokenProcessPool:  # a caller's script without a main guard, or too little memory
            return super().prepare_all(modules)
        return [e if isinstance(e, MeasurementError) else self._rotating(e) for e in exported]

    def _rotating(self, portable: Portable) -> Program:
        return Rotating([self._program(portable) for _ in range(COPIES)])

    def _exporters(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))
        return self._pool

    def timer(self, usual: TimerConfig) -> TimerConfig:
        """More rounds: an export takes longer than they do."""
        return replace(usual, min_repeats=ROUNDS * usual.min_repeats, max_repeats=ROUNDS * usual.max_repeats)

    def _program(self, portable: Portable) -> Program:
        try:
            session = session_of(portable.content, self.setup.threads)
        except Exception as error:  # the package's errors have no base class but this
            raise refusal(self.name, error) from error
        bound = _bind(session, portable)

        def outputs() -> Tensors:
            session.run_with_iobinding(bound)
            return tuple(torch.from_numpy(value.numpy()) for value in bound.get_outputs())

        return HostProgram(
            lambda: session.run_with_iobinding(bound), clock_for(self.setup.threads, self.setup.device), outputs
        )


def export(runtime: str, module: nn.Module, inputs: Tensors) -> Portable:
    """The module in float32 on the CPU, for exactly these shapes; `MeasurementError` if it cannot be exported."""
    given = tuple(x.detach().to("cpu", torch.float32 if x.is_floating_point() else None) for x in inputs)
    names = [f"x{i}" for i in range(len(given))]
    try:
        content, _ = onnx_bytes(trace(module.to("cpu", torch.float32), given, static=True), names)
    except Exception as error:  # the exporters pass on whatever an operator raises
        raise refusal(runtime, error) from error
    arrays = {name: x.contiguous().numpy() for name, x in zip(names, given, strict=True)}
    return Portable(content, arrays)


def _exported(given: tuple[str, nn.Module, Tensors]) -> Portable | MeasurementError:
    torch.set_num_threads(1)
    _, module, inputs = given
    with torch.no_grad():
        module(*inputs)  # operators build their tables at the first call, and none can be built while tracing
    try:
        return export(*given)
    except MeasurementError as error:
        return error


def session_of(model: bytes | str, threads: int) -> Any:
    """A session on `threads` threads, of a file's content or its path; one thread has nothing to wait for in a spin."""
    import onnxruntime  # slow to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=PROVIDERS)


def feeds(session: Any, portable: Portable) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that the session asks for: an exporter may drop an input that nothing reads."""
    return {node.name: portable.arrays[node.name] for node in session.get_inputs()}


def refusal(runtime: str, error: Exception) -> MeasurementError:
    """What a user reads when a runtime cannot take a network: one line of the first cause."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = str(cause).strip().splitlines() or [""]
    return MeasurementError(
        f"runtime {runtime!r} must take every network of the space, one fails with {type(cause).__name__}: {lines[0]}; "
        "leave its operators out of the search space, or use profile.runtime=eager"
    )


def _bind(session: Any, portable: Portable) -> Any:
    bound = session.io_binding()
    for name, array in feeds(session, portable).items():
        bound.bind_cpu_input(name, array)
    for node in session.get_outputs():
        bound.bind_output(node.name)
    return bound
