"""Cuts examples into three splits, the same on every run, and seals them into a `Dataset` with its hash."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas.data.canvas import placed
from nas.data.contract import DataConfig, Dataset, Examples, TaskKind
from nas.errors import ConfigError, DataError
from nas.shapes import ImageShape, TaskShape

DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Three disjoint sets of examples."""

    train: Examples
    val: Examples
    test: Examples


def carve(examples: Examples, share: float, *, seed: int) -> tuple[Examples, Examples]:
    """A random cut into the larger part and a part with `share` of the examples, fixed by `seed`."""
    order = _order(len(examples), seed)
    cut = round(len(examples) * share)
    return examples.take(order[cut:]), examples.take(order[:cut])


def three_way(examples: Examples, share: float, *, seed: int) -> Splits:
    """A random cut of examples that come without splits: `share` of them for val and as many for test."""
    order = _order(len(examples), seed)
    cut = round(len(examples) * share)
    return Splits(*(examples.take(part) for part in (order[2 * cut :], order[:cut], order[cut : 2 * cut])))


def seal(
    config: DataConfig,
    splits: Splits,
    *,
    task: TaskKind,
    shape: TaskShape,
    is_mirrorable: bool = False,
    name: str | None = None,
) -> Dataset:
    """The dataset of `splits` after the size limits of `config`; `DataError` if a split is empty."""
    train = _limit(splits.train, config.train_size, config.seed)
    val = _limit(splits.val, config.val_size, config.seed)
    test = _limit(splits.test, config.test_size, config.seed)
    _check_filled(config, train=train, val=val, test=test)
    if config.canvas is not None:
        shape = _on_canvas(shape, config.canvas)
        train, val, test = (
            replace(part, inputs=placed(part.inputs, config.canvas, seed=config.seed + i))
            for i, part in enumerate((train, val, test))
        )
    return Dataset(
        name=name or config.name,
        task=task,
        shape=shape,
        train=train,
        val=val,
        held_out=test,
        digest=digest_of(train, val, test),
        is_mirrorable=is_mirrorable,
    )


def digest_of(*parts: Examples) -> str:
    """The leading hex digits of the SHA-256 over shape, dtype and bytes of every tensor in `parts`."""
    state = hashlib.sha256()
    for part in parts:
        for tensor in (part.inputs, part.targets):
            state.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
            state.update(tensor.contiguous().numpy().data)
    return state.hexdigest()[:DIGEST_CHARACTERS]


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def _limit(examples: Examples, size: int | None, seed: int) -> Examples:
    """A prefix of one fixed shuffle, so that a smaller limit keeps a subset of what a larger one keeps."""
    if size is None or size >= len(examples):
        return examples
    return examples.take(_order(len(examples), seed)[:size])


def _on_canvas(shape: TaskShape, side: int) -> ImageShape:
    if not isinstance(shape, ImageShape):
        raise ConfigError(f"data.canvas is for images, and this data has none: leave it null, got {side}")
    return replace(shape, height=side, width=side)


def _check_filled(config: DataConfig, **parts: Examples) -> None:
    empty = [name for name, part in parts.items() if len(part) == 0]
    if empty:
        sizes = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
        raise DataError(
            f"train, val and test each need at least one example, but data {config.name!r} gives {sizes}; "
            f"add examples, raise data.val_share (now {config.val_share}) or lower data.seq_len for texts"
        )
