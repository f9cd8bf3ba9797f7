from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from nas import programs


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(7, 5), nn.LayerNorm(5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.norm(self.embedding(x)), -1)


MODULES: dict[str, tuple[nn.Module, Tensor]] = {
    "convolution": (nn.Sequential(nn.Conv2d(3, 5, 3), nn.GELU(), nn.Flatten()), torch.randn(2, 3, 7, 7)),
    "embedding": (Normed(), torch.arange(6).reshape(2, 3)),
}


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry per table of operators that the exporter builds; a new counter shares no table built before it."""
    plain: Callable[..., ONNXRegistry] = ONNXRegistry.from_torchlib
    seen: list[int] = []

    def counted(cls: type, opset_version: int = 18) -> ONNXRegistry:
        seen.append(opset_version)
        return plain(opset_version)

    monkeypatch.setattr(ONNXRegistry, "from_torchlib", classmethod(counted))
    return seen


def plainly(program: torch.export.ExportedProgram) -> bytes:
    with programs._quiet():
        written = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["x"], output_names=["y"])
    assert written is not None
    return written.model_proto.SerializeToString()


def test_exports_share_one_table_of_operators_and_write_the_same_bytes(builds: list[int]) -> None:
    # two rounds: what an export reads from a table that others used before is still the same
    for static in (True, False):
        for module, x in MODULES.values():
            program = programs.trace(module.eval(), (x,), static=static)
            content, opset = programs.onnx_bytes(program, ["x"], ["y"])
            before = len(builds)
            assert content == plainly(program)
            assert len(builds) == before + 1, "the plain exporter builds its own again"
            assert opset == builds[0]
    assert len(builds) == 1 + 4


def test_the_exporter_is_as_before_afterwards() -> None:
    before = vars(ONNXRegistry)["from_torchlib"]
    with pytest.raises(KeyError), programs.shared_registry():
        assert vars(ONNXRegistry)["from_torchlib"] is not before
        raise KeyError
    assert vars(ONNXRegistry)["from_torchlib"] is before


@pytest.mark.parametrize("owner", [object, type("Renamed", (), {"from_torchlib": staticmethod(dict)})])
def test_a_pytorch_without_that_name_exports_as_it_does(
    owner: type, builds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_registry_class", lambda: owner)
    module, x = MODULES["embedding"]
    program = programs.trace(module.eval(), (x,), static=True)
    assert programs.onnx_bytes(program, ["x"], ["y"])[0] == programs.onnx_bytes(program, ["x"], ["y"])[0]
    assert len(builds) == 2


def test_a_static_program_takes_its_own_batch_and_another_any() -> None:
    module, x = MODULES["convolution"]
    assert programs.trace(module, (x,), static=False).module()(x[:1].repeat(5, 1, 1, 1)).shape == (5, 125)
    with pytest.raises(AssertionError, match="size"):
        programs.trace(module, (x,), static=True).module()(x[:1])
