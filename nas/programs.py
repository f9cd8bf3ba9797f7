"""A module as a program that runs without this package: a `torch.export` trace, and from one an ONNX file's bytes."""

import functools
import logging
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nas.errors import MeasurementError


def trace(module: nn.Module, inputs: tuple[Tensor, ...], *, static: bool) -> ExportedProgram:
    """The module as a program of these inputs.

    Static: for exactly their shapes. Otherwise for any first dimension (the batch) if the module's operators allow it.
    """
    shapes = None if static else tuple({0: Dim.AUTO} for _ in inputs)
    with _quiet(), torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=shapes)


def onnx_bytes(
    program: ExportedProgram, input_names: Sequence[str], output_names: Sequence[str] | None = None
) -> tuple[bytes, int | None]:
    """The program as an ONNX file's content, and its opset; names left out are the exporter's."""
    with _quiet(), shared_registry():
        written = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=input_names,
            output_names=output_names,
            custom_translation_table=_translations(),
        )
    if written is None:
        raise MeasurementError("the ONNX exporter gave no program: use another format, or profile.runtime=eager")
    return written.model_proto.SerializeToString(), written.model.opset_imports.get("")


@functools.cache
def _translations() -> dict[Any, Any]:
    """What the exporter has no ONNX for: a stable sort, which is ONNX's TopK, since that puts the lower index first."""
    from onnxscript import opset18

    op: Any = opset18  # its types speak of ONNX values, which the exporter makes of numbers

    def sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001
        count = op.Reshape(op.Gather(op.Shape(x), dim, axis=0), op.Constant(value_ints=[1]))
        return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: sort}


@contextmanager
def shared_registry() -> Iterator[None]:
    """Within it the ONNX exporter takes its table of operators from the process's first export.

    `torch.onnx.export` builds that table anew at every call, two thirds of the time for a small network, and has no
    argument to hand one over. It only reads it unless given a translation table, so what it writes is the same. The
    class method is private to PyTorch: where it is not found, exports are merely slower.
    """
    owner = _registry_class()
    plain = vars(owner).get("from_torchlib")
    if not isinstance(plain, classmethod):
        yield
        return
    build = functools.partial(_built, plain.__get__(None, owner))
    setattr(owner, "from_torchlib", staticmethod(build))  # noqa: B010
    try:
        yield
    finally:
        setattr(owner, "from_torchlib", plain)  # noqa: B010


@functools.cache
def _built(build: Callable[..., object], *args: Hashable, **settings: Hashable) -> object:
    return build(*args, **settings)


def _registry_class() -> type:
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return object
    return ONNXRegistry


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
