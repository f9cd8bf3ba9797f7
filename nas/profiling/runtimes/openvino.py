"""OpenVINO on the CPU, from the ONNX file: what Intel's compiler makes of a network. An extra."""

from typing import Any

import torch
from torch import nn

from nas.errors import ConfigError
from nas.profiling.clock import WALL
from nas.profiling.program import HostProgram, Program, Tensors
from nas.profiling.runtimes.contract import Runtime, Setup, cpu_only, package_version
from nas.profiling.runtimes.onnxruntime import Portable, export, refusal

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class Engine(Runtime):
    """Wall time: the network runs on threads of OpenVINO's own, also where it is one."""

    name = "openvino"
    tolerance = 1e-4
    dtypes = tuple(HINTS)

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        cpu_only(self)
        self.version()
        if setup.dtype == torch.bfloat16 and "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ConfigError(  # it would run float32 and say nothing
                "runtime 'openvino' runs bfloat16 on a CPU with such instructions, this one has none: use "
                "profile.dtype=float32"
            )

    def version(self) -> str:
        """The package's."""
        return package_version("openvino", extra="openvino")

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """A request whose inputs are set once; weights and inputs are float32 in every dtype, as in the file."""
        portable = export(self.name, module, inputs)
        try:
            request = self._request(portable)
        except Exception as error:  # the package's errors have no base class but this
            raise refusal(self.name, error) from error

        def outputs() -> Tensors:
            request.infer()
            return tuple(torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors)

        return HostProgram(request.infer, WALL, outputs)

    def _request(self, portable: Portable) -> Any:
        core = _core()
        hints = {
            "INFERENCE_PRECISION_HINT": HINTS[self.setup.dtype],
            "INFERENCE_NUM_THREADS": self.setup.threads,
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(core.read_model(portable.content), "CPU", hints)
        request = compiled.create_infer_request()
        _set_inputs(request, compiled, portable)
        return request


def _set_inputs(request: Any, compiled: Any, portable: Portable) -> None:
    from openvino import Tensor

    for port in compiled.inputs:  # an input that nothing reads may be gone
        name = next(name for name in port.names if name in portable.arrays)
        request.set_tensor(port, Tensor(portable.arrays[name]))


def _core() -> Any:
    from openvino import Core  # an extra

    return Core()
