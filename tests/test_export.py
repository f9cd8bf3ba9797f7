import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nas
from nas import operators
from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.errors import CheckpointError, MeasurementError
from nas.export import ExportConfig, bundle, export, programs
from nas.shapes import Domain, ImageShape, TaskShape, TokenShape
from nas.space.space import Frame, SearchSpace, Stem
from nas.supernet import Supernet, example_inputs
from tests import spaces
from tests.operators.cases import KNOBS

SHAPES: dict[Domain, TaskShape] = {
    "image": ImageShape(channels=1, height=12, width=12, classes=3),
    "sequence": TokenShape(vocab=11, tokens=32, classes=11, is_causal=False),
    "causal": TokenShape(vocab=11, tokens=32, classes=11),
}
CASES = [
    pytest.param(domain, OperatorArch.of(name, **knobs), id=f"{domain}-{name}-{i}")
    for domain in SHAPES
    for name, choices in KNOBS.items()
    if domain in operators.get(name).domains
    for i, knobs in enumerate(choices)
]
FEW = [case for case in CASES if case.id in ("image-neighborhood-0", "causal-block_routing-0", "causal-reused_kv-1")]
FORMS = [case for case in CASES if case.id.endswith("-0") or any(isinstance(v, str) for _, v in case.values[1].knobs)]
"""The first case of each operator, and others where a word among the knobs makes it another one."""
NO_PROGRAMS = ExportConfig(formats=())


def source(domain: Domain, operator: OperatorArch) -> list[OperatorArch]:
    """What has to come before: nothing, or an operator that publishes what this one reads."""
    mixer, knobs = operators.get(operator.name), operators.parse(operator)
    others = [case.values[1] for case in CASES if case.values[0] == domain]
    return [op for op in others if mixer.can_follow(knobs, [op])][:1] if mixer.consumes else []


def one_operator(domain: Domain, operator: OperatorArch) -> tuple[Supernet, Arch]:
    stem = Stem(patch=2) if domain == "image" else Stem(conv=3)
    chain = (*source(domain, operator), operator, operator)
    arch = Arch((StageArch(24, tuple(BlockArch(op, FfnArch("swiglu", 1.0)) for op in chain)),))
    space = SearchSpace(Frame("tiny", domain, stem, (1,)), ()).only(arch)
    return Supernet(space, SHAPES[domain]), arch


def check_every_form(domain: Domain, operator: OperatorArch, folder: Path) -> None:
    net, arch = one_operator(domain, operator)
    card = export(net, arch, folder, ExportConfig())
    assert card.batch is None
    assert card.parity["extracted"] == 0
    assert card.parity["pt2"] <= 1e-5
    assert card.parity["onnx"] <= 1e-4
    x = example_inputs(SHAPES[domain], 3, seed=9)
    assert torch.equal(nas.load(folder)(x), net.eval()(x, arch))


@pytest.mark.parametrize(("domain", "operator"), FEW)
def test_an_operator_survives_export(domain: Domain, operator: OperatorArch, tmp_path: Path) -> None:
    check_every_form(domain, operator, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("domain", "operator"), FORMS)
def test_every_operator_survives_export(domain: Domain, operator: OperatorArch, tmp_path: Path) -> None:
    check_every_form(domain, operator, tmp_path)


@pytest.mark.parametrize("name", ["digits_tiny", "pyramid_small", "lm_tiny"])
def test_a_subnet_of_a_shared_net_loads_as_it_was(name: str, tmp_path: Path) -> None:
    net = Supernet(spaces.shipped(name), spaces.SHAPES[name]).train()
    arch = net.space.smallest()
    card = export(net, arch, tmp_path, NO_PROGRAMS, latency={"latency_ms": 1.5})
    x = example_inputs(net.shape, 2, seed=0)
    assert net.training
    assert torch.equal(nas.load(tmp_path)(x), net.eval()(x, arch))
    assert card.params == sum(p.numel() for p in nas.load(tmp_path).parameters())
    written = json.loads((tmp_path / "card.json").read_text())
    assert written == json.loads(json.dumps(card.to_dict()))
    assert "1.500 ms" in (tmp_path / "card.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors", "card.json", "card.md"}


def test_a_second_export_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    net, arch = one_operator("image", OperatorArch.of("none"))
    export(net, arch, tmp_path, ExportConfig(formats=("pt2",)))
    assert export(net, arch, tmp_path, NO_PROGRAMS).bytes.keys() == {"model.json", "model.safetensors"}
    assert not (tmp_path / "model.pt2").exists()


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_program_that_computes_else_is_refused(wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, arch = one_operator("image", OperatorArch.of("none"))
    writer: Callable[..., programs.Written] = lambda *_: programs.Written(lambda x: net(x, arch) + wrong)  # noqa: E731
    monkeypatch.setattr(programs, "WRITERS", {"pt2": writer})
    with pytest.raises(MeasurementError, match="'pt2' differs by"):
        export(net, arch, tmp_path, ExportConfig(formats=("pt2",)))
    assert not (tmp_path / "card.json").exists()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    net, arch = one_operator("image", OperatorArch.of("depthwise", kernel_size=3))
    export(net, arch, tmp_path, NO_PROGRAMS)
    return tmp_path


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / bundle.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / bundle.WEIGHTS).write_bytes(content)


def change(folder: Path, **values: object) -> None:
    model = json.loads((folder / bundle.MODEL).read_text())
    (folder / bundle.MODEL).write_text(json.dumps({**model, **values}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()], "is no exported network.*give a folder"),
    "no weights": (lambda f: (f / bundle.WEIGHTS).unlink(), "is missing: export"),
    "flipped bit": (flip_a_byte, "is damaged: its SHA-256 is"),
    "torn json": (lambda f: (f / bundle.MODEL).write_text('{"format'), "is damaged"),
    "json of another kind": (lambda f: (f / bundle.MODEL).write_text("[]"), "is damaged"),
    "later format": (lambda f: change(f, format_version=99), "has format 99 and this version reads 3"),
    "no arch": (lambda f: change(f, arch={}), "does not describe a network"),
    "unknown operator": (
        lambda f: change(f, arch={"stages": [{"embed_dim": 8, "blocks": [{"operator": {"name": "../x"}}]}]}),
        "does not describe a network",
    ),
    "other shape": (
        lambda f: change(f, shape={"channels": 2, "height": 12, "width": 12, "classes": 3}),
        "weights of another network",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_says_what_is_wrong(damage: str, exported: Path) -> None:
    harm, message = DAMAGES[damage]
    harm(exported)
    with pytest.raises(CheckpointError, match=message):
        nas.load(exported)


def test_importing_the_package_stays_light() -> None:
    code = "import nas, sys; assert 'torch' not in sys.modules; assert not hasattr(nas, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True)
