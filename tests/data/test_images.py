"""Image sources: real digits and Fashion-MNIST; IDX, CIFAR and folders on small files that the tests write."""

import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nas import data
from nas.data import DataConfig
from nas.data.idx import read_idx
from nas.data.sources import fashion_mnist
from nas.errors import DataError
from nas.shapes import ImageShape

STEMS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def idx_bytes(values: np.ndarray, *, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_fashion(folder: Path, *, train: int = 20, test: int = 5) -> None:
    rng = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{prefix}-{STEMS[0]}.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{prefix}-{STEMS[1]}").write_bytes(idx_bytes(labels))


def rows(examples: data.Examples) -> set[bytes]:
    return {row.numpy().tobytes() for row in examples.inputs}


def test_digits_are_real_split_and_reproducible() -> None:
    config = DataConfig(name="digits", val_share=0.2)
    first, again = data.load(config), data.load(config)
    assert first.shape == ImageShape(channels=1, height=8, width=8, classes=10)
    assert [len(part) for part in (first.train, first.val, first.test)] == [1079, 359, 359]
    assert first.train.inputs.dtype == torch.uint8
    assert first.train.targets.unique().tolist() == list(range(10))
    assert first.digest == again.digest
    assert first.digest != data.load(DataConfig(name="digits", val_share=0.2, seed=1)).digest
    assert not rows(first.train) & (rows(first.val) | rows(first.test))


def test_real_fashion_mnist() -> None:
    if not any(folder.is_dir() for folder in fashion_mnist.SYSTEM_FOLDERS):
        pytest.skip("dataset-fashion-mnist is not installed")
    dataset = data.load(DataConfig(name="fashion_mnist"))
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [54_000, 6_000, 10_000]
    assert dataset.test.targets.bincount().tolist() == [1000] * 10
    assert dataset.train.inputs.shape[1:] == (1, 28, 28)
    assert 70 < dataset.train.inputs[:2000].float().mean() < 76


def test_fashion_mnist_from_a_folder_plain_or_gzipped(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    dataset = data.load(DataConfig(name="fashion_mnist", path=str(tmp_path)))
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [18, 2, 5]
    assert dataset.is_mirrorable


def test_missing_fashion_mnist_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"apt install dataset-fashion-mnist, or set data\.path=FOLDER"):
        data.load(DataConfig(name="fashion_mnist", path=str(tmp_path / "nowhere")))
    write_fashion(tmp_path)
    (tmp_path / f"t10k-{STEMS[1]}").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        data.load(DataConfig(name="fashion_mnist", path=str(tmp_path)))


def test_too_few_images_for_the_splits(tmp_path: Path) -> None:
    write_fashion(tmp_path, train=3)
    with pytest.raises(DataError, match=r"train 3, val 0, test 5; .*val_share"):
        data.load(DataConfig(name="fashion_mnist", path=str(tmp_path)))


@pytest.mark.parametrize("shape", [(1,), (63,), (3, 5, 7), (2, 3, 5, 1)])
def test_idx_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for name, content in (("plain", idx_bytes(values)), ("packed.gz", gzip.compress(idx_bytes(values)))):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / name).numpy(), values)


WHOLE = idx_bytes(np.arange(30, dtype=np.uint8).reshape(5, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG and more", "starts with 89 50 4e 47"),
        (idx_bytes(np.zeros(4, dtype=np.uint8), kind=13), "starts with 00 00 0d 01"),
        (WHOLE[:9], "ends inside its header of 12 bytes"),
        (WHOLE[:-3], r"announces 30 \(5 x 6\) and holds 27"),
        (gzip.compress(WHOLE, mtime=0)[:-12], "not a whole gzip file"),
    ],
)
def test_damaged_idx_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def cifar_rows(count: int, *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, classes, count, dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2 wrote its strings, the form of the published batches."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value: bytes | str) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    # numpy's module as it was called then
    return stream.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_cifar10(folder: Path, *, is_binary: bool) -> None:
    folder.mkdir()
    for number, stem in enumerate([*(f"data_batch_{index}" for index in range(1, 6)), "test_batch"]):
        pixels, labels = cifar_rows(4 + number, classes=10)
        if is_binary:
            (folder / f"{stem}.bin").write_bytes(np.concatenate([labels[:, None], pixels], axis=1).tobytes())
        else:
            (folder / stem).write_bytes(python2_pickle({b"data": pixels, b"labels": labels.tolist()}))


def test_cifar10_binary_and_python_batches_agree(tmp_path: Path) -> None:
    loaded = []
    for is_binary in (True, False):
        write_cifar10(tmp_path / f"set{is_binary}", is_binary=is_binary)
        loaded.append(data.load(DataConfig(name="cifar10", path=str(tmp_path / f"set{is_binary}"))))
    assert loaded[0].digest == loaded[1].digest
    assert [len(part) for part in (loaded[0].train, loaded[0].val, loaded[0].test)] == [27, 3, 9]
    pixels, labels = cifar_rows(9, classes=10)
    assert np.array_equal(loaded[0].test.inputs.numpy().reshape(9, 3072), pixels)
    assert np.array_equal(loaded[0].test.targets.numpy(), labels)


def test_cifar100_takes_the_fine_label_and_looks_one_folder_deep(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for stem, count in (("train", 30), ("test", 6)):
        pixels, fine = cifar_rows(count, classes=100)
        content = np.concatenate([np.zeros((count, 1), np.uint8), fine[:, None], pixels], axis=1)
        (folder / f"{stem}.bin").write_bytes(content.tobytes())
    dataset = data.load(DataConfig(name="cifar100", path=str(tmp_path)))
    assert np.array_equal(dataset.test.targets.numpy(), cifar_rows(6, classes=100)[1])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path, ("never",)


def test_cifar_pickle_runs_no_code(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "set", is_binary=False)
    (tmp_path / "set" / "data_batch_2").write_bytes(pickle.dumps({"data": Bomb()}, protocol=2))
    with pytest.raises(DataError, match=r"it asks for pathlib\.Path"):
        data.load(DataConfig(name="cifar10", path=str(tmp_path)))


def test_damaged_cifar_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unpack the archive and set data\.path=FOLDER"):
        data.load(DataConfig(name="cifar10"))
    write_cifar10(tmp_path / "set", is_binary=True)
    batch = tmp_path / "set" / "data_batch_3.bin"
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="whole records of 3073 bytes: data_batch_3.bin has 18437"):
        data.load(DataConfig(name="cifar10", path=str(tmp_path)))
    batch.write_bytes(bytes([77]) + whole[1:])
    with pytest.raises(DataError, match="labels are below 10: data_batch_3 has 77"):
        data.load(DataConfig(name="cifar10", path=str(tmp_path)))
    batch.unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing"):
        data.load(DataConfig(name="cifar10", path=str(tmp_path)))
