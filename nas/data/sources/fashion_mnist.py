"""Fashion-MNIST: 60 000 + 10 000 grey images of clothes, 28 x 28 pixels, 10 classes (Xiao et al., 2017)."""

from pathlib import Path

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.idx import read_idx
from nas.data.splits import Splits, carve, seal
from nas.errors import DataError
from nas.shapes import ImageShape

SYSTEM_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/local/share/datasets/fashion-mnist"))
CLASSES = 10


def load(config: DataConfig) -> Dataset:
    """Fashion-MNIST from `config.path` or the system's package, with val carved from the 60 000."""
    folder = _folder(config)
    train, val = carve(_read(folder, "train"), config.val_share, seed=config.seed)
    splits = Splits(train, val, _read(folder, "t10k"))
    height, width = train.inputs.shape[-2:]
    shape = ImageShape(channels=1, height=height, width=width, classes=CLASSES)
    return seal(config, splits, task="classification", shape=shape, is_mirrorable=True)


def _folder(config: DataConfig) -> Path:
    candidates = SYSTEM_FOLDERS if config.path is None else (Path(config.path),)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise DataError(
        f"Fashion-MNIST needs a folder with its four IDX files, none at {' or '.join(map(str, candidates))}; "
        "apt install dataset-fashion-mnist, or set data.path=FOLDER"
    )


def _read(folder: Path, prefix: str) -> Examples:
    images = read_idx(_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_file(folder, f"{prefix}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or (len(labels) and int(labels.max()) >= CLASSES):
        raise DataError(
            f"images have 3 axes and labels 1 with values below {CLASSES}: {prefix} has {images.ndim} and "
            f"{labels.ndim} axes and labels up to {int(labels.max()) if len(labels) else 0}; check which file is which"
        )
    return Examples(images[:, None], labels)


def _file(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.gz", stem):
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"Fashion-MNIST is four IDX files: {stem}.gz (or unpacked) is missing in {folder}; "
        "apt install dataset-fashion-mnist, or set data.path=FOLDER"
    )
