import gc
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.errors import ConfigError, MeasurementError
from nas.profiling import TimerConfig
from nas.profiling.runtimes import Setup
from nas.profiling.runtimes.command import Engine, Reading, Timed, parse

DOUBLE = Path(__file__).parent / "device_double.py"


def command(mode: str, rest: str = "") -> str:
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(DOUBLE))} {mode} {{model}} {{repeats}} {rest}"


def timed(mode: str, rest: str = "", **settings: float) -> Timed:
    module, x = nn.Sequential(nn.Linear(13, 11), nn.ReLU()).eval(), torch.randn(3, 13)
    program = Engine(Setup(command=command(mode, rest), **settings)).prepare(module, (x,))  # type: ignore[arg-type]
    assert isinstance(program, Timed)
    return program


def test_every_call_is_timed_by_the_program() -> None:
    program = timed("bare")
    assert len(program.read(7).latency_ms) == 7
    assert program.elapsed_ms(5) > 0 and program.clock == "command"


def test_labelled_results_go_before_bare_numbers() -> None:
    reading = timed("labelled").read(5)
    assert len(reading.latency_ms) == 1 and reading.latency_ms[0] < 17
    assert (reading.peak_memory_bytes, reading.energy_mj) == (4096, 0.25)


def test_the_program_is_told_what_to_run() -> None:
    program = timed("echo", "{threads} {batch}", threads=2)
    assert program.read(6).latency_ms == (6, 2, 3)
    assert program.elapsed_ms(6) == 3 * 6  # the median of what it printed, per call


def test_the_file_lives_as_long_as_its_program() -> None:
    program = timed("bare")
    model = program.model
    assert model.stat().st_size and program.outputs()[0].shape == (3, 11)
    del program
    gc.collect()
    assert not model.parent.exists()


def test_a_version_is_the_device_or_the_program() -> None:
    assert Engine(Setup(command=command("bare"))).version() == Path(sys.executable).name
    assert Engine(Setup(command=command("bare"), device_name="phone")).version() == "phone"


def test_blocks_are_long_and_few() -> None:
    runtime = Engine(Setup(command=command("bare")))
    few = runtime.timer(TimerConfig())
    assert (few.block_ms, few.min_repeats, few.max_repeats, few.max_ms) == (100, 3, 5, 10_000)
    assert runtime.timer(TimerConfig(block_ms=250, precision=0.02)).block_ms == 250


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "must say where the ONNX file goes, got '': put {model} into it"),
        ("bench {repeats}", "must say where the ONNX file goes, got 'bench {repeats}'"),
        ("bench {{model}}", "must say where the ONNX file goes"),
        ("bench {model} {input}", "knows the placeholders model, repeats, threads, batch, got input in"),
        ("bench {model} {}", "knows the placeholders"),
        ("bench {model!r}", "got model!r in"),
        ("bench {model:>9}", "got model:>9 in"),
        ("bench {model.name}", "got model.name in"),
        ("bench '{model}", r"cannot be read \(No closing quotation\).*close its quotes"),
        ("bench {model} }", r"cannot be read \(Single '}' encountered.*write {{ and }} for its own braces"),
        ("no-such-program {model}", "'no-such-program' is not found or not executable: give its path"),
        ("{model}", "'{model}' is not found"),
    ],
)
def test_a_command_that_cannot_work_is_refused_at_once(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Engine(Setup(command=given))


def test_a_file_that_is_not_executable_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "bench").write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="bench' is not found or not executable.*make it executable"):
        Engine(Setup(command=f"{tmp_path / 'bench'} {{model}}"))


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.write_bytes(b"\x7fno program")
    bench.chmod(0o755)
    program = Engine(Setup(command=f"{bench} {{model}}")).prepare(nn.Identity(), (torch.randn(2),))
    with pytest.raises(MeasurementError, match=r"bench .*model.onnx` cannot be started \(.*\): run it by hand"):
        program.elapsed_ms(1)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("silent", "must print milliseconds, it printed nothing"),
        ("text", "must print milliseconds, it printed 'took 3.5 ms' last"),
        ("nan", "must print finite numbers above zero, it printed 'nan'"),
        ("negative", "must print finite numbers above zero, it printed '-1.5'"),
        ("zero", "must print finite numbers above zero, it printed '0.0'"),
        ("infinite", "must print finite numbers above zero, it printed 'inf'"),
        ("word", "must print finite numbers above zero, it printed 'fast'"),
        ("crash", r"must exit with status 0, it exited with 3 \(no such operator\)"),
    ],
)
def test_a_program_that_misbehaves_is_shown_with_what_it_did(mode: str, message: str) -> None:
    with pytest.raises(
        MeasurementError, match=rf"^`.*device_double.py {mode} .*model.onnx 2` {message}: run it by hand"
    ):
        timed(mode).elapsed_ms(2)


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with pytest.raises(MeasurementError, match="must end within 5 s and did not: .*or raise profile.timeout_s"):
        timed("hang", shlex.quote(str(note)), timeout_s=5).elapsed_ms(1)
    assert is_gone(int(note.read_text()))


def is_gone(process: int) -> bool:
    """Dead within a second; an orphan that nobody collects stays as a zombie."""
    for _ in range(100):
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_output_in_every_form() -> None:
    assert parse("\n1.5 2e0\r\n\tok\n 3\n", "bench") == Reading((1.5, 2.0, 3.0))
    assert parse("9\nmean latency_ms=1.5 energy_mj=2\nenergy_mj=3", "bench") == Reading((1.5,), None, 3.0)
    for wrong in ("p99_latency_ms=3", "1.5 ms", "energy_mj=1"):
        with pytest.raises(MeasurementError, match="must print milliseconds"):
            parse(wrong, "bench")
    with pytest.raises(MeasurementError, match="it printed '-4'"):
        parse("1.5\npeak_memory_bytes=-4", "bench")
