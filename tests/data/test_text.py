"""Byte text: windows, splits by file, the standard library, and what is refused."""

from pathlib import Path

import pytest
import torch

from nas import data
from nas.data import DataConfig
from nas.data.sources.text import split_of, windows
from nas.errors import DataError
from nas.shapes import TokenShape


def write_files(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number}.txt").write_bytes(bytes([65 + number]) * (number + 40))


@pytest.mark.parametrize(("length", "seq_len"), [(0, 4), (4, 4), (5, 4), (8, 4), (100, 17), (127, 63)])
def test_windows_predict_each_byte_once(length: int, seq_len: int) -> None:
    text = bytes(range(length))
    examples = windows(text, seq_len)
    assert len(examples) == max(0, length - 1) // seq_len
    predicted = examples.targets.flatten().tolist()
    assert predicted == list(text[1 : 1 + len(predicted)])
    assert torch.equal(examples.inputs.int() + 1, examples.targets.int())


def test_stdlib_is_real_and_reproducible() -> None:
    config = DataConfig(name="text", seq_len=512, val_share=0.05, train_size=2000, val_size=100, test_size=100)
    dataset = data.load(config)
    assert dataset.name == "stdlib"
    assert dataset.shape == TokenShape(vocab=256, tokens=512, classes=256)
    assert dataset.train.inputs.shape == dataset.train.targets.shape == (2000, 512)
    assert dataset.train.inputs.dtype == torch.uint8
    joined = bytes(dataset.train.inputs.flatten().tolist())
    assert b"def __init__(self" in joined
    assert b"import " in joined
    assert dataset.digest == data.load(config).digest


def test_files_never_straddle_splits(tmp_path: Path) -> None:
    write_files(tmp_path, 25)
    dataset = data.load(DataConfig(name="text", path=str(tmp_path), seq_len=8, val_share=0.3))
    letters = [set(part.targets.flatten().tolist()) - {0} for part in (dataset.train, dataset.val, dataset.test)]
    assert all(letters)
    assert not letters[0] & letters[1] | letters[0] & letters[2] | letters[1] & letters[2]


def test_split_of_a_file_depends_on_its_path_and_the_seed_alone() -> None:
    paths = [f"folder/{number}.py" for number in range(4000)]
    parts = [split_of(path, 0.1, seed=0) for path in paths]
    assert parts != [split_of(path, 0.1, seed=1) for path in paths]
    assert [abs(parts.count(part) - 400) < 80 for part in (1, 2)] == [True, True]


def test_single_file_is_cut_into_stretches(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(bytes(range(1, 201)))
    dataset = data.load(DataConfig(name="text", path=str(path), seq_len=7, val_share=0.2))
    ends = [(int(part.inputs[0, 0]), len(part)) for part in (dataset.train, dataset.val, dataset.test)]
    assert ends == [(1, 17), (121, 5), (161, 5)]


def test_binary_hidden_and_empty_files_are_left_out(tmp_path: Path) -> None:
    write_files(tmp_path, 1)
    (tmp_path / "0.txt").write_bytes(b"ab" * 100)
    (tmp_path / "picture").write_bytes(b"\0\1" * 100)
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("z" * 100)
    dataset = data.load(DataConfig(name="text", path=str(tmp_path), seq_len=4))
    assert dataset.train.inputs.unique().tolist() == [97, 98]


def test_refused_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing is at .*; set data\.path=FOLDER"):
        data.load(DataConfig(name="text", path=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="no file that is neither empty nor binary"):
        data.load(DataConfig(name="text", path=str(tmp_path)))
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(DataError, match=r"train 0, val 0, test 0; .*lower data\.seq_len"):
        data.load(DataConfig(name="text", path=str(tmp_path)))
