"""Weights and what they belong to, as `model.safetensors` and `model.json`: written by `write`, read by `load`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as unpack
from safetensors.torch import save as pack
from torch import Tensor, nn

from nas.arch import Arch
from nas.errors import ArchError, CheckpointError
from nas.journal import finite
from nas.run import write_atomic
from nas.shapes import shape_from_dict
from nas.space.space import Frame, Head, SearchSpace, Stem
from nas.supernet import Sharing, Subnet, Supernet

FORMAT_VERSION = 3
WEIGHTS, MODEL = "model.safetensors", "model.json"


def write(subnet: Subnet, folder: Path) -> None:
    """Writes both files, each whole or not at all."""
    net = subnet.net
    weights = pack({name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()})
    model = {
        "format_version": FORMAT_VERSION,
        "arch": subnet.arch.to_dict(),
        "digest": subnet.arch.digest,
        "frame": asdict(net.space.frame),
        "shape": asdict(net.shape),
        "sharing": asdict(net.sharing),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomic(folder / WEIGHTS, weights)
    write_atomic(folder / MODEL, as_json(model))


def load(path: str | Path) -> nn.Module:
    """The exported network in evaluation mode: images `[B, channels, H, W]` or token ids `[B, T]` to logits."""
    folder = Path(path).expanduser()
    model = _read_model(folder / MODEL)
    try:
        frame, arch = model["frame"], Arch.from_dict(model["arch"])
        space = SearchSpace(_frame(frame), ()).only(arch)
        net = Supernet(space, shape_from_dict(model["shape"]), sharing=Sharing(**model["sharing"]))
    except (ArchError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / MODEL} does not describe a network ({error}): export it again") from error
    weights = _read_weights(folder / WEIGHTS, model["weights_sha256"])
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / WEIGHTS} holds the weights of another network: export it again") from error
    return Subnet(net, arch).eval()


def _frame(values: Mapping[str, Any]) -> Frame:
    """As `asdict` wrote it."""
    return Frame(**{**values, "stem": Stem(**values["stem"]), "head": Head(**values["head"])})


def as_json(value: Any) -> bytes:
    """Readable JSON with sorted keys, NaN and infinities as null."""
    return (json.dumps(finite(value), indent=1, sort_keys=True) + "\n").encode()


def _read_model(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(
            f"{path.parent} is no exported network, it has no {path.name}: give a folder of `export/`"
        )
    try:
        model: dict[str, Any] = json.loads(path.read_text())
        if model["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {model['format_version']!r} and this version reads {FORMAT_VERSION}: "
                "load it with the version of nas that wrote it, or export it again"
            )
        return {**model, "weights_sha256": str(model["weights_sha256"])}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}): export it again") from error


def _read_weights(path: Path, checksum: str) -> dict[str, Tensor]:
    if not path.exists():
        raise CheckpointError(f"{path} is missing: export the network again")
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != checksum:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is {found[:12]}…, not {checksum[:12]}…; export it again")
    try:
        return unpack(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file ({error}): export it again") from error
