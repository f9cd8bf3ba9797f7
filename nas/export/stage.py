"""Stage `export`: one arch as a folder of plain files, each checked against the supernet's slice.

model.safetensors  weights;  model.json  the arch and what it was built for;  model.pt2  `torch.export` program
model.onnx         ONNX;  card.json, card.md  costs, parity, versions; the card is written last
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.arch import Arch, describe
from nas.config import config
from nas.errors import MeasurementError
from nas.export import bundle, programs
from nas.export.programs import Format
from nas.programs import trace
from nas.run import write_atomic
from nas.supernet import Subnet, Supernet, evaluating, example_inputs, extract, network_cost

Call = Callable[[Tensor], Tensor]

TOLERANCES = {"extracted": 1e-5, "pt2": 1e-5, "onnx": 1e-4}
BATCHES = (2, 5)
DRAWS = 3
PACKAGES = ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime")


@config
class ExportConfig:
    """What to write beside weights and arch."""

    formats: tuple[Format, ...] = ("onnx", "pt2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCard:
    """What an export is and how far it is from the supernet's slice."""

    digest: str
    params: int
    flops: int
    kv_cache_bytes: int
    batch: int | None
    """The one batch size that the programs take; None for any."""
    opset: int | None
    parity: Mapping[str, float]
    """Largest absolute difference of the logits from the supernet's slice, by form."""
    bytes: Mapping[str, int]
    latency: Mapping[str, float]
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    batch: int | None
    opset: int | None
    parity: Mapping[str, float]


def export(
    net: Supernet, arch: Arch, folder: Path, config: ExportConfig, *, latency: Mapping[str, float] | None = None
) -> ExportCard:
    """Writes the arch with its weights in `net` into the folder; `MeasurementError` if a written form computes else.

    `latency` is what was measured of the arch, in milliseconds by name; it goes into the card as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("model.*"), *folder.glob("card.*")]:
        old.unlink()
    with evaluating(net), torch.no_grad():
        checked = _write_forms(net, arch, folder, config.formats)
    card = _card(net, arch, folder, checked, latency or {})
    write_atomic(folder / "card.md", _markdown(card, arch).encode())
    write_atomic(folder / "card.json", bundle.as_json(card.to_dict()))
    return card


def _write_forms(net: Supernet, arch: Arch, folder: Path, formats: Sequence[Format]) -> _Checked:
    subnet, expected = extract(net, arch).eval(), Subnet(net, arch).eval()
    bundle.write(subnet, folder)
    parity = {"extracted": _difference("extracted", subnet, expected, BATCHES)}
    program = trace(subnet, (example_inputs(net.shape, BATCHES[0], seed=0),), static=False)
    batch, opset = programs.batch_of(program), None
    for name in formats:
        written = programs.WRITERS[name](program, folder)
        parity[name] = _difference(name, written.run, expected, BATCHES if batch is None else (batch,))
        opset = written.opset or opset
    return _Checked(batch=batch, opset=opset, parity=parity)


def _difference(name: str, run: Call, expected: Subnet, batches: Sequence[int]) -> float:
    # a fault shows on every draw; a router's near tie, which rounding may decide anew, does not
    tolerance, seen = TOLERANCES[name], []
    for seed in range(DRAWS):
        pairs = [(run(x), expected(x)) for x in (example_inputs(expected.net.shape, n, seed) for n in batches)]
        seen.append(float(torch.stack([(got - wanted).abs().max() for got, wanted in pairs]).max()))
        if seen[-1] <= tolerance:
            return seen[-1]
    raise MeasurementError(
        f"an exported network must give the logits of the supernet's slice to {tolerance:g}; arch "
        f"{expected.arch.digest} as {name!r} differs by {seen[0]:.2g}: report it, and leave that format out of "
        "export.formats meanwhile"
    )


def _card(net: Supernet, arch: Arch, folder: Path, checked: _Checked, latency: Mapping[str, float]) -> ExportCard:
    cost = network_cost(net.space.frame, net.shape, arch)
    return ExportCard(
        digest=arch.digest,
        params=cost.params,
        flops=cost.flops,
        kv_cache_bytes=cost.kv_cache_bytes,
        batch=checked.batch,
        opset=checked.opset,
        parity=checked.parity,
        bytes={file.name: file.stat().st_size for file in sorted(folder.glob("model.*"))},
        latency=dict(latency),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _markdown(card: ExportCard, arch: Arch) -> str:
    figures = {
        "parameters": f"{card.params:,}",
        "FLOPs per sample (multiply-add = 2)": f"{card.flops:,}",
        "KV cache per sample": f"{card.kv_cache_bytes:,} bytes",
        "batch": "any" if card.batch is None else str(card.batch),
        **{f"{name.removesuffix('_ms')}, measured": f"{value:.3f} ms" for name, value in card.latency.items()},
        **{f"largest difference, {name}": f"{value:.2g}" for name, value in card.parity.items()},
        **{f"`{name}`": f"{size:,} bytes" for name, size in card.bytes.items()},
        **card.versions,
    }
    rows = [f"| {name} | {value} |" for name, value in figures.items()]
    blocks = [f"- width {stage.embed_dim}: `{describe(block)}`" for stage in arch.stages for block in stage.blocks]
    usage = ["```python", "import nas", "", 'net = nas.load(".")  # this folder', "```"]
    return "\n".join([f"# {card.digest}", "", *blocks, "", "| | |", "|---|---|", *rows, "", *usage, ""])
