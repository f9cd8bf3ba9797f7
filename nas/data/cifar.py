"""Reader of the CIFAR batches, binary or Python version; pickles are read without running any code of theirs."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.splits import Splits, carve, seal
from nas.errors import DataError
from nas.shapes import ImageShape

PIXELS = (3, 32, 32)
PIXEL_BYTES = 3 * 32 * 32
# the only names that a pickled array of bytes needs
ALLOWED = frozenset({("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """File names and record layout of one of the two sets; the last of `label_bytes` is the label."""

    title: str
    classes: int
    label_bytes: int
    label_key: bytes
    train: tuple[str, ...]
    test: str


def load(config: DataConfig, layout: Layout) -> Dataset:
    """The set from the folder `config.path` (or a folder inside it), with val carved from train."""
    folder = _folder(config, layout)
    batches = [_read(folder, stem, layout) for stem in layout.train]
    joined = Examples(torch.cat([part.inputs for part in batches]), torch.cat([part.targets for part in batches]))
    train, val = carve(joined, config.val_share, seed=config.seed)
    splits = Splits(train, val, _read(folder, layout.test, layout))
    channels, height, width = PIXELS
    shape = ImageShape(channels=channels, height=height, width=width, classes=layout.classes)
    return seal(config, splits, task="classification", shape=shape, is_mirrorable=True)


def _folder(config: DataConfig, layout: Layout) -> Path:
    if config.path is not None and Path(config.path).is_dir():
        root = Path(config.path)
        for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
            if any((folder / name).is_file() for name in (f"{layout.test}.bin", layout.test)):
                return folder
    raise DataError(
        f"{layout.title} is read from a folder with {layout.test}.bin (binary version) or {layout.test} (Python "
        f"version), none at {config.path!r}; unpack the archive and set data.path=FOLDER"
    )


def _read(folder: Path, stem: str, layout: Layout) -> Examples:
    if (folder / f"{stem}.bin").is_file():
        images, labels = _read_binary(folder / f"{stem}.bin", layout)
    elif (folder / stem).is_file():
        images, labels = _read_pickle(folder / stem, layout)
    else:
        raise DataError(f"{layout.title} is incomplete: {stem} is missing in {folder}; unpack the whole archive")
    if len(labels) and int(labels.max()) >= layout.classes:
        raise DataError(
            f"{layout.title} labels are below {layout.classes}: {stem} has {int(labels.max())}; "
            "check that data.name fits the files"
        )
    return Examples(images.reshape(-1, *PIXELS), labels)


def _read_binary(path: Path, layout: Layout) -> tuple[Tensor, Tensor]:
    content = path.read_bytes()
    record = layout.label_bytes + PIXEL_BYTES
    if not content or len(content) % record:
        raise DataError(
            f"a batch of {layout.title} is whole records of {record} bytes: {path.name} has {len(content)} bytes; "
            "unpack the archive again"
        )
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(-1, record)
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1]


def _read_pickle(path: Path, layout: Layout) -> tuple[Tensor, Tensor]:
    try:
        with path.open("rb") as stream:
            batch = _ArrayUnpickler(stream, encoding="bytes").load()
        pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, PIXEL_BYTES)
        labels = np.asarray(batch[layout.label_key], dtype=np.uint8)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path.name} is not a Python batch of {layout.title} ({error}); "
            "unpack the archive again, or use the binary version"
        ) from error
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.copy())


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers and numpy arrays; refuses every other name a pickle asks for."""

    def find_class(self, module: str, name: str, /) -> Any:
        if (name, module.rpartition(".")[2]) not in ALLOWED or module.partition(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of images needs")
        return super().find_class(module, name)
