"""Checkpoints: weights as safetensors with the space they belong to; training state beside them for exact resume."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from nas.errors import CheckpointError
from nas.run import Run, write_atomic
from nas.shapes import TaskShape, shape_from_dict
from nas.space import SearchSpace, load_space
from nas.supernet import Sharing, Supernet

WEIGHTS, STATE = "supernet/weights.safetensors", "supernet/state.pt"
FORMAT = "3"
"""What the weights mean: 2 since channels are dealt to heads in turn, and kv heads to query heads; 3 since the head
normalises the mean of an image's tokens."""


def save_supernet(run: Run, net: Supernet, space: Mapping[str, Any]) -> Path:
    """Writes the weights with the space's content and digest, the task's shape and the sharing."""
    meta = {
        "format": FORMAT,
        "space": json.dumps(dict(space)),
        "space_digest": net.space.digest,
        "shape": json.dumps(asdict(net.shape)),
        "sharing": json.dumps(asdict(net.sharing)),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    return write_atomic(run.file(WEIGHTS), save(weights, metadata=meta))


def load_supernet(run: Run, space: SearchSpace | None = None) -> Supernet:
    """The run's trained supernet; `CheckpointError` if it is missing, damaged, or of another space than `space`."""
    path = run.path / WEIGHTS
    if not path.exists():
        raise CheckpointError(f"run {run.path} has no trained supernet: train one with `nas train run.dir={run.path}`")
    try:
        with safe_open(path, framework="pt") as stream:
            meta = stream.metadata() or {}
            weights = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        sharing = Sharing(**json.loads(meta["sharing"]))
        own, shape = load_space(json.loads(meta["space"])), shape_from_dict(json.loads(meta["shape"]))
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): delete it and train again") from error
    if (found := meta.get("format", "1")) != FORMAT:
        raise CheckpointError(
            f"{path} has weights of format {found} and this version reads {FORMAT}, in which they mean something else: "
            "train again in another run.dir, or use the version that wrote it"
        )
    if space is not None and space.digest != own.digest:
        raise CheckpointError(
            f"the supernet of this run was trained on space {own.frame.name!r} ({own.digest}) and the settings ask for "
            f"{space.frame.name!r} ({space.digest}): drop the search_spaces/space override, or train in another run.dir"
        )
    return _filled(own, shape, sharing, weights, path)


def weights_digest(run: Run) -> str:
    """Sixteen hex digits of the supernet's weights file."""
    return hashlib.sha256((run.path / WEIGHTS).read_bytes()).hexdigest()[:16]


def save_state(run: Run, name: str, state: Mapping[str, Any]) -> None:
    """Writes optimiser and step whole or not at all."""
    path = run.file(name)
    draft = path.with_suffix(".draft")
    torch.save(dict(state), draft)
    draft.replace(path)


def load_state(run: Run, name: str) -> dict[str, Any] | None:
    """The training state, tensors and numbers only; None if training never got that far."""
    path = run.path / name
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): delete it to start this training again") from error
    return state


def to_cpu(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's state as CPU tensors."""
    return {name: value.detach().cpu() for name, value in module.state_dict().items()}


def _filled(
    space: SearchSpace, shape: TaskShape, sharing: Sharing, weights: dict[str, torch.Tensor], path: Path
) -> Supernet:
    net = Supernet(space, shape, sharing=sharing)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its own space: it was written by another version") from error
    return net.eval()
