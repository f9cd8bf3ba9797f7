"""Programs that run without this package, from one `torch.export` trace: one writer per format."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas.errors import MeasurementError
from nas.run import write_atomic

Format = Literal["onnx", "pt2"]


@dataclass(frozen=True, slots=True)
class Written:
    """A written program, read back: how to run it, and its ONNX opset if it has one."""

    run: Callable[[Tensor], Tensor]
    opset: int | None = None


def trace(module: nn.Module, x: Tensor) -> ExportedProgram:
    """The module as a program of one input, for any batch size if its operators allow that."""
    with _quiet():
        return torch.export.export(module, (x,), dynamic_shapes=({0: Dim.AUTO},))


def batch_of(program: ExportedProgram) -> int | None:
    """The one batch size that a program takes; None for any."""
    name = program.graph_signature.user_inputs[0]
    size = next(node for node in program.graph.nodes if node.name == name).meta["val"].shape[0]
    return size if isinstance(size, int) else None


def _write_pt2(program: ExportedProgram, folder: Path) -> Written:
    draft = folder / ".draft.pt2"
    torch.export.save(program, draft)
    draft.replace(folder / "model.pt2")
    return Written(torch.export.load(folder / "model.pt2").module())


def _write_onnx(program: ExportedProgram, folder: Path) -> Written:
    import onnxruntime  # slow to import, and only needed here

    with _quiet():
        written = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["x"], output_names=["logits"])
    if written is None:
        raise MeasurementError("the ONNX exporter gave no program: leave 'onnx' out of export.formats")
    write_atomic(folder / "model.onnx", written.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return Written(
        lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), written.model.opset_imports.get("")
    )


WRITERS: Mapping[Format, Callable[[ExportedProgram, Path], Written]] = {"pt2": _write_pt2, "onnx": _write_onnx}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the two messages of the exporter that concern nobody: a missing torchvision, and its own pytree types."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(_is_news)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registration.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return "torchvision is not installed" not in record.getMessage()
