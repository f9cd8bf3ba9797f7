import importlib.metadata
import importlib.util
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.errors import ConfigError, MeasurementError, MissingDependencyError
from nas.profiling import runtimes
from nas.profiling.clock import THREAD_CPU, WALL, quiet
from nas.profiling.pieces import cut_net
from nas.profiling.program import Rotating
from nas.profiling.runtimes import Runtime, Setup, contract, onnxruntime
from nas.profiling.runtimes.eager import as_tensors
from nas.profiling.workload import workload
from nas.supernet import Supernet
from tests.profiling.doubles import FakeProgram
from tests.profiling.test_command import command
from tests.spaces import TEXT, shipped

CLOCKS = {
    "eager": THREAD_CPU.name,
    "compiled": THREAD_CPU.name,
    "onnxruntime": THREAD_CPU.name,
    "openvino": WALL.name,
    "cuda_graph": "cuda_events",
    "command": "command",
}
ON_CPU = ("command", "onnxruntime", "openvino")


class Pair(nn.Module):
    """Whole numbers, floats and an input that nothing reads, to two results."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(7, 5), nn.Linear(5, 3)

    def forward(self, ids: Tensor, x: Tensor, unread: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        y = self.embedding(ids) + x + position
        return torch.softmax(self.linear(y), -1), y.amax((1, 2))


def pair() -> tuple[nn.Module, tuple[Tensor, ...]]:
    inputs = (torch.arange(6).reshape(2, 3), torch.randn(2, 5, 3).mT, torch.randn(4), torch.tensor(2))
    return Pair().eval(), inputs


def setup(name: str, **settings: Any) -> Setup:
    device = "cuda" if name == "cuda_graph" else "cpu"
    return Setup(**{"device": device, "command": command("bare"), **settings})


def engine(name: str, **settings: Any) -> Runtime:
    if name == "openvino":
        pytest.importorskip("openvino")
    return runtimes.get(name)(setup(name, **settings))


def usable() -> list[Any]:
    marks = {"cuda_graph": pytest.mark.gpu, "compiled": pytest.mark.slow}
    return [pytest.param(name, marks=marks.get(name, ())) for name in runtimes.names()]


def test_the_folder_is_the_registry() -> None:
    assert set(runtimes.names()) == set(CLOCKS)
    with pytest.raises(ConfigError, match="must be one of command, compiled.*got 'contract'"):
        runtimes.get("contract")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("name", usable())
def test_a_runtime_gives_what_the_module_gives_and_times_it(name: str) -> None:
    runtime, (module, inputs) = engine(name), pair()
    with torch.no_grad():
        wanted = as_tensors(module(*inputs))
    program = runtime.prepare(module, inputs)
    outputs = program.outputs()
    assert len(outputs) == 2 and runtime.name == name and runtime.version()
    for got, expected in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=runtime.tolerance, rtol=runtime.tolerance)
    assert program.clock == CLOCKS[name]
    with quiet(1):
        assert program.elapsed_ms(1) > 0 and program.elapsed_ms(20) > 0
    for got, again in zip(outputs, program.outputs(), strict=True):
        torch.testing.assert_close(got, again)


@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino"])
def test_a_program_of_more_threads_gives_the_same(name: str) -> None:
    module, inputs = pair()
    program = engine(name, threads=2).prepare(module, inputs)
    with torch.no_grad():
        torch.testing.assert_close(program.outputs(), as_tensors(module(*inputs)), atol=1e-4, rtol=1e-4)
    assert program.clock == WALL.name


@pytest.mark.parametrize("name", ["eager", "onnxruntime", "openvino"])
def test_programs_live_side_by_side(name: str) -> None:
    runtime, (module, inputs) = engine(name), pair()
    first = runtime.prepare(module, inputs)
    before = first.outputs()
    second = runtime.prepare(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), (torch.randn(5, 3),))
    assert second.outputs()[0].shape == (5, 4)
    torch.testing.assert_close(first.outputs(), before)


@pytest.mark.parametrize("name", runtimes.names())
def test_a_dtype_that_a_runtime_lacks_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.* runs float32.*got torch.float16: change profile.dtype"):
        runtimes.get(name)(setup(name, dtype=torch.float16))


@pytest.mark.parametrize("name", ["onnxruntime", "command"])
def test_what_an_onnx_file_is_checked_with_runs_float32(name: str) -> None:
    with pytest.raises(ConfigError, match="runs float32, got torch.bfloat16"):
        runtimes.get(name)(setup(name, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", runtimes.names())
def test_a_device_that_a_runtime_lacks_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name == "cuda_graph")
    device = "cpu" if name == "cuda_graph" else "cuda"
    remedy = {"cuda_graph": "needs profile.device=cuda, got 'cpu'"}.get(name, "got profile.device=cuda: ")
    with pytest.raises(ConfigError, match=remedy if name in (*ON_CPU, "cuda_graph") else "machine has none: use cpu"):
        runtimes.get(name)(setup(name, device=device))


def test_a_graph_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="profile.device=cuda needs a CUDA device, this machine has none: use cpu"):
        runtimes.get("cuda_graph")(setup("cuda_graph"))


@pytest.mark.parametrize(
    ("name", "install"),
    [("openvino", r"'attention-nas\[openvino\]'"), ("onnxruntime", "onnxruntime"), ("command", "onnx")],
)
def test_a_missing_package_is_named(name: str, install: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(contract, "version", missing)
    with pytest.raises(MissingDependencyError, match=f"which is not installed: pip install {install}"):
        runtimes.get(name)(setup(name))


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="openvino is installed")
def test_without_the_extra_openvino_is_refused_at_once() -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'attention-nas\[openvino\]'"):
        runtimes.get("openvino")(setup("openvino"))


def test_openvino_rounds_where_bfloat16_is_asked_for() -> None:
    pytest.importorskip("openvino")
    from openvino import Core

    if "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ConfigError, match="runs bfloat16 on a CPU with such instructions, this one has none"):
            engine("openvino", dtype=torch.bfloat16)
        return
    module, inputs = nn.Linear(64, 64).eval(), (torch.randn(8, 64),)
    (got,) = engine("openvino", dtype=torch.bfloat16).prepare(module, inputs).outputs()
    with torch.no_grad():
        error = float((got - module(*inputs)).abs().max())
    assert 1e-5 < error < 3e-2


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.sum())


@pytest.mark.parametrize("name", ON_CPU)
def test_a_module_that_cannot_be_exported_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        engine(name).prepare(Untraceable(), (torch.randn(2, 3),))
    message = str(caught.value)
    assert message.startswith(f"runtime '{name}' must take every network of the space, one fails with ")
    assert message.endswith("leave its operators out of the search space, or use profile.runtime=eager")
    assert "\n" not in message and caught.value.__cause__ is not None


def test_a_file_that_the_session_refuses_is_an_error_of_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Callable[..., onnxruntime.Portable] = lambda *_: onnxruntime.Portable(b"no model", {})  # noqa: E731
    monkeypatch.setattr(onnxruntime, "export", broken)
    with pytest.raises(MeasurementError, match="'onnxruntime' must take.*fails with.*use profile.runtime=eager"):
        engine("onnxruntime").prepare(*pair())


class Refuses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0].sum() if bool((x > 0).any()) else x.sum()


def test_exports_on_several_cores_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "WORKERS", 2)
    net = Supernet(shipped("lm_tiny"), TEXT).eval()
    # a pattern of blocks is built at an operator's first call, which in a worker is not the constructor's
    cuts = [cut_net(net, net.space.largest(name), workload(net.space, TEXT), seed=0) for name in ("window", "linear")]
    torch.manual_seed(0)
    given = [(cut.module, cut.inputs) for cut in cuts]
    made = runtimes.get("onnxruntime")(setup("onnxruntime")).prepare_all([*given, (Refuses(), (torch.randn(3),))])
    for cut, program in zip(cuts, made, strict=False):
        assert not isinstance(program, MeasurementError)
        torch.testing.assert_close(program.outputs()[0], cut.module(*cut.inputs), atol=1e-4, rtol=1e-4)
    assert isinstance(made[2], MeasurementError) and "leave its operators out" in str(made[2])


def test_a_pool_that_breaks_leaves_it_to_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def map(self, *_: object) -> Any:
            raise BrokenProcessPool

    monkeypatch.setattr(onnxruntime, "WORKERS", 2)
    monkeypatch.setattr(onnxruntime.Engine, "_exporters", lambda _: Broken())
    module, inputs = pair()
    made = runtimes.get("onnxruntime")(setup("onnxruntime")).prepare_all([(module, inputs)] * 2)
    assert not any(isinstance(program, MeasurementError) for program in made)


def test_copies_are_timed_in_turn() -> None:
    copies = [FakeProgram(ms) for ms in (1.0, 2.0, 3.0)]
    turning = Rotating(copies)
    assert sorted(turning.elapsed_ms(1) for _ in range(3)) == [1.0, 2.0, 3.0] and turning.clock == "fake"
