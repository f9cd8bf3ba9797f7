"""Folders of images: with and without splits of their own, and what is refused."""

from pathlib import Path

import pytest
import torch

from nas import data
from nas.data import DataConfig
from nas.errors import DataError
from nas.shapes import ImageShape

image_module = pytest.importorskip("PIL.Image", reason="pillow is not installed")


def write_images(folder: Path, counts: dict[str, int]) -> None:
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            suffix, mode = (("png", "L"), ("jpg", "RGB"))[number % 2]
            image = image_module.new(mode, (13, 7), 100 * label if mode == "L" else (100 * label,) * 3)
            image.save(folder / name / f"{number}.{suffix}")


def load(folder: Path) -> data.Dataset:
    return data.load(DataConfig(name="image_folder", path=str(folder), image_size=5, val_share=0.25))


def test_classes_are_folders_and_splits_are_cut(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 6, "dog": 10})
    dataset = load(tmp_path)
    assert dataset.shape == ImageShape(channels=3, height=5, width=5, classes=2)
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [8, 4, 4]
    for part in (dataset.train, dataset.val, dataset.test):
        assert torch.equal(part.inputs.float().mean((1, 2, 3)).round(), 100.0 * part.targets)


@pytest.mark.parametrize(("brought", "sizes"), [(("val", "test"), [8, 4, 4]), (("test",), [6, 2, 4]), ((), [4, 2, 2])])
def test_splits_that_are_brought_are_kept(tmp_path: Path, brought: tuple[str, ...], sizes: list[int]) -> None:
    write_images(tmp_path / "train", {"cat": 4, "dog": 4})
    for name in brought:
        write_images(tmp_path / name, {"cat": 2, "dog": 2})
    dataset = load(tmp_path)
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == sizes


def test_refused_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path=FOLDER with one folder of images per class, got None"):
        data.load(DataConfig(name="image_folder"))
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="at least 2 classes"):
        load(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="no image"):
        load(tmp_path)


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "dog" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.png is not"):
        load(tmp_path)


def test_class_missing_in_one_split(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"cat": 4, "dog": 4})
    write_images(tmp_path / "test", {"cat": 4})
    with pytest.raises(DataError, match="same classes"):
        load(tmp_path)
