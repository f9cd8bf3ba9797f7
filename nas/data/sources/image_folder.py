"""Images in folders named after their classes, from a path of the user's."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.splits import Splits, carve, seal, three_way
from nas.errors import DataError
from nas.shapes import ImageShape

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


def load(config: DataConfig) -> Dataset:
    """RGB images resized to `image_size`; the splits are the folders train, val, test as far as there are any."""
    root = _root(config)
    has_splits = (root / "train").is_dir()
    classes = _classes(root / "train" if has_splits else root)
    if has_splits:
        splits = _brought(root, classes, config)
    else:
        splits = three_way(_read(root, classes, config.image_size), config.val_share, seed=config.seed)
    size = config.image_size
    shape = ImageShape(channels=3, height=size, width=size, classes=len(classes))
    return seal(config, splits, task="classification", shape=shape)


def _brought(root: Path, classes: list[str], config: DataConfig) -> Splits:
    """The folders' own splits; whichever of val and test is missing is carved from train."""
    parts = {
        name: _read(root / name, classes, config.image_size)
        for name in ("train", "val", "test")
        if (root / name).is_dir()
    }
    train = parts["train"]
    for offset, name in enumerate(("val", "test")):
        if name not in parts:
            train, parts[name] = carve(train, config.val_share, seed=config.seed + offset)
    return Splits(train, parts["val"], parts["test"])


def _root(config: DataConfig) -> Path:
    if config.path is None or not Path(config.path).is_dir():
        raise DataError(
            f"an image folder needs data.path=FOLDER with one folder of images per class, got {config.path!r}"
        )
    return Path(config.path)


def _classes(folder: Path) -> list[str]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DataError(
            f"classification needs at least 2 classes, one folder each: {folder} has {len(classes)}; "
            "sort the images into FOLDER/class/image.png"
        )
    return classes


def _read(folder: Path, classes: list[str], size: int) -> Examples:
    files = [(path, label) for label, name in enumerate(classes) for path in _images(folder / name)]
    if not files:
        raise DataError(f"no image ({', '.join(sorted(SUFFIXES))}) in the class folders of {folder}")
    images = torch.stack([_pixels(path, size) for path, _ in files])
    return Examples(images, torch.tensor([label for _, label in files], dtype=torch.int16))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"every split holds the same classes: folder {folder} is missing; create it, or drop the class")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _pixels(path: Path, size: int) -> Tensor:
    try:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"every image must be readable: {path} is not ({error}); repair or remove it") from error
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
