"""Any program that times an ONNX file: on a phone over `adb shell`, on a board over `ssh`, or a script on this machine.

The command is a template, run without a shell, such as `my_bench --model {model} --calls {repeats}`. Its placeholders:
`{model}` (required) path of the file on this machine, `{repeats}` calls to time, `{threads}`, `{batch}`; a brace of the
command's own is written twice. The program loads the file, makes inputs of the file's shapes itself (whole numbers:
zeros do), warms up, times the calls, prints results to stdout and exits with status 0. A result is either
    1.234                 a line of nothing but numbers: milliseconds of one call each
    latency_ms=1.234      milliseconds of one call; where there is one, bare numbers are ignored
with `peak_memory_bytes=<number>` and `energy_mj=<number>` (of one call) beside it or not. Other lines are ignored.
"""

import math
import os
import re
import shlex
import shutil
import signal
import string
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas.errors import ConfigError, MeasurementError
from nas.profiling.program import Program, Tensors
from nas.profiling.runtimes.contract import Facts, Runtime, Setup, package_version
from nas.profiling.runtimes.onnxruntime import Portable, export, feeds, refusal, session_of
from nas.profiling.timer import TimerConfig

PLACEHOLDERS = ("model", "repeats", "threads", "batch")
LABELS = ("latency_ms", "peak_memory_bytes", "energy_mj")
LABELLED = re.compile(rf"\b({'|'.join(LABELS)})=(\S*)")
REMEDY = "run it by hand, and see nas/profiling/runtimes/command.py for what it must print"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a program printed: milliseconds per call, and the last memory and energy, if any."""

    latency_ms: tuple[float, ...]
    peak_memory_bytes: float | None = None
    energy_mj: float | None = None


class Engine(Runtime):
    """Times come from the program; what the file computes is checked here, with ONNX Runtime."""

    name = "command"
    tolerance = 1e-4

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if setup.device != "cpu":
            raise ConfigError(
                f"runtime 'command' runs where its program does, got profile.device={setup.device}: use cpu"
            )
        package_version("onnxruntime")
        self.template = template(setup.command)

    def version(self) -> str:
        """The device's name, else the program's, since what is behind it cannot be asked."""
        return self.setup.device_name or Path(self.template[0]).name

    def timer(self, usual: TimerConfig) -> TimerConfig:
        """Few long blocks, since every one starts the program and loads the file."""
        return replace(usual, block_ms=max(usual.block_ms, 100.0), min_repeats=3, max_repeats=5, max_ms=10_000.0)

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """The exported file in a folder of its own, gone with the program."""
        return Timed(self.template, self.setup, export(self.name, module, inputs), inputs[0].shape[0])

    def facts(self, module: nn.Module, inputs: Tensors, program: Program) -> Facts:
        """What the program printed when it ran last: this machine's memory and energy would say nothing."""
        last = program.last if isinstance(program, Timed) else None
        return (
            Facts()
            if last is None
            else Facts(None if last.peak_memory_bytes is None else round(last.peak_memory_bytes), last.energy_mj)
        )


class Timed:
    """A file and the command that times it."""

    clock = "command"

    def __init__(self, template: Sequence[str], setup: Setup, portable: Portable, batch: int) -> None:
        self._template, self._setup, self._portable, self._batch = template, setup, portable, batch
        folder = Path(tempfile.mkdtemp(prefix="nas-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.model = folder / "model.onnx"
        self.model.write_bytes(portable.content)
        self.last: Reading | None = None

    def outputs(self) -> Tensors:
        """What the file gives in ONNX Runtime on this machine: the device's own results are not visible."""
        try:
            session = session_of(str(self.model), self._setup.threads)
            results = session.run(None, feeds(session, self._portable))
        except Exception as error:  # the package's errors have no base class but this
            raise refusal(Engine.name, error) from error
        return tuple(torch.from_numpy(result) for result in results)

    def elapsed_ms(self, count: int) -> float:
        """Milliseconds of `count` calls at the median of what the program printed for so many."""
        return float(np.median(self.read(count).latency_ms)) * count

    def read(self, repeats: int) -> Reading:
        """Runs the program for so many calls; `MeasurementError` says what it did instead of printing numbers."""
        values = {"model": self.model, "repeats": repeats, "threads": self._setup.threads, "batch": self._batch}
        command = [word.format_map(values) for word in self._template]
        self.last = parse(run(command, self._setup.timeout_s), shlex.join(command))
        return self.last


def template(command: str) -> tuple[str, ...]:
    """The command's words; `ConfigError` unless it could be run with a model put in."""
    try:
        words = tuple(shlex.split(command))
        named = {field for word in words for field in _placeholders(word)}
    except ValueError as error:
        raise ConfigError(
            f"profile.command cannot be read ({error}), got {command!r}: close its quotes, write {{{{ and }}}} for its "
            "own braces"
        ) from error
    if unknown := named - set(PLACEHOLDERS):
        raise ConfigError(
            f"profile.command knows the placeholders {', '.join(PLACEHOLDERS)}, got {', '.join(sorted(unknown))} in "
            f"{command!r}: write {{{{ and }}}} for braces of its own"
        )
    if "model" not in named:
        raise ConfigError(f"profile.command must say where the ONNX file goes, got {command!r}: put {{model}} into it")
    if shutil.which(words[0]) is None:
        raise ConfigError(
            f"profile.command must start with a program, {words[0]!r} is not found or not executable: give its path, "
            "and make it executable"
        )
    return words


def _placeholders(word: str) -> list[str]:
    """What stands in braces, with its format if it has one, which no placeholder takes."""
    parts = string.Formatter().parse(word)
    return [
        f"{name}!{how}" if how else f"{name}:{form}" if form else name
        for _, name, form, how in parts
        if name is not None
    ]


def run(command: Sequence[str], timeout_s: float) -> str:
    """The program's standard output; it and all that it started are killed when the time is over."""
    shown = shlex.join(command)
    try:
        status, out, err = _communicate(command, timeout_s)
    except OSError as error:
        raise MeasurementError(f"`{shown}` cannot be started ({error.strerror}): {REMEDY}") from error
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(
            f"`{shown}` must end within {timeout_s:g} s and did not: {REMEDY}, or raise profile.timeout_s"
        ) from error
    if status:
        last = (err.strip().splitlines() or ["nothing on stderr"])[-1]
        raise MeasurementError(f"`{shown}` must exit with status 0, it exited with {status} ({last}): {REMEDY}")
    return out


def _communicate(command: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its session is its own, so nobody else would end it
            raise
    return process.returncode, out, err


def parse(output: str, shown: str) -> Reading:
    """The results in a program's output; `MeasurementError` if there is none, or one is no quantity above zero."""
    labelled: dict[str, list[str]] = {name: [] for name in LABELS}
    for name, value in LABELLED.findall(output):
        labelled[name].append(value)
    bare = [word for line in output.splitlines() if _is_numbers(line) for word in line.split()]
    latencies = [_positive(value, shown) for value in labelled["latency_ms"] or bare]
    if not latencies:
        seen = f"it printed {output.strip().splitlines()[-1]!r} last" if output.strip() else "it printed nothing"
        raise MeasurementError(f"`{shown}` must print milliseconds, {seen}: {REMEDY}")
    memory, energy = ([_positive(value, shown) for value in labelled[name]] for name in LABELS[1:])
    return Reading(tuple(latencies), memory[-1] if memory else None, energy[-1] if energy else None)


def _is_numbers(line: str) -> bool:
    try:
        return bool([float(word) for word in line.split()])
    except ValueError:
        return False


def _positive(value: str, shown: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise MeasurementError(f"`{shown}` must print finite numbers above zero, it printed {value!r}: {REMEDY}")
    return number
