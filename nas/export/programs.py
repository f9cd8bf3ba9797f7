"""Files of a `torch.export` program, one writer per format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.export import ExportedProgram

from nas.programs import onnx_bytes
from nas.run import write_atomic

Format = Literal["onnx", "pt2"]


@dataclass(frozen=True, slots=True)
class Written:
    """A written program, read back: how to run it, and its ONNX opset if it has one."""

    run: Callable[[Tensor], Tensor]
    opset: int | None = None


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

    content, opset = onnx_bytes(program, ["x"], ["logits"])
    write_atomic(folder / "model.onnx", content)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return Written(lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), opset)


WRITERS: Mapping[Format, Callable[[ExportedProgram, Path], Written]] = {"pt2": _write_pt2, "onnx": _write_onnx}
