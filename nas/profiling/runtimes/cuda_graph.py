"""A captured CUDA graph: a network's time on a GPU without the host's launches."""

import torch
from torch import nn

from nas.errors import ConfigError
from nas.profiling.clock import CudaClock
from nas.profiling.program import HostProgram, Program, Tensors
from nas.profiling.runtimes import eager
from nas.profiling.runtimes.contract import Setup
from nas.profiling.runtimes.eager import as_tensors

WARMUPS = 3  # allocations and library handles must exist before a capture


class Engine(eager.Engine):
    """Replays the module's kernels; timed by events."""

    name = "cuda_graph"

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if not setup.device.startswith("cuda"):
            raise ConfigError(f"runtime 'cuda_graph' needs profile.device=cuda, got {setup.device!r}: set it")

    def prepare(self, module: nn.Module, inputs: Tensors) -> Program:
        """The captured graph."""
        placed, given = self.place(module, inputs)
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(self.setup.device)  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.cuda.device(self.setup.device):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUPS):
                    placed(*given)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                result = placed(*given)

        def outputs() -> Tensors:
            graph.replay()
            torch.cuda.synchronize(self.setup.device)
            return as_tensors(result)

        return HostProgram(graph.replay, CudaClock(self.setup.device), outputs)
