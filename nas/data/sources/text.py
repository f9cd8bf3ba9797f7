"""Bytes of text files for language modelling; without a path, the sources of Python's standard library."""

import hashlib
import sysconfig
from pathlib import Path

import torch

from nas.data.contract import DataConfig, Dataset, Examples
from nas.data.splits import Splits, seal
from nas.errors import DataError
from nas.shapes import TokenShape

VOCAB = 256
END_OF_FILE = b"\0"
NOT_STDLIB = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})


def load(config: DataConfig) -> Dataset:
    """Windows of `seq_len` bytes with the byte that follows each as target; val and test are other files than train.

    A file's split is a hash of its relative path, so it stays when files are added. A single file is cut into three
    stretches instead. Files are joined by one zero byte; files that hold a zero byte are taken for binary and left out.
    """
    if config.path is None:
        texts, name = _stdlib(), "stdlib"
    else:
        texts, name = _user_texts(Path(config.path)), config.name
    parts = _stretches(texts, config) if len(texts) == 1 else _by_file(texts, config)
    splits = Splits(*(windows(part, config.seq_len) for part in parts))
    shape = TokenShape(vocab=VOCAB, tokens=config.seq_len, classes=VOCAB)
    return seal(config, splits, task="language", shape=shape, name=name)


def windows(text: bytes, seq_len: int) -> Examples:
    """Adjoining windows, uint8 `[windows, seq_len]`: each byte but the first is a target once; the rest drops."""
    count = max(0, len(text) - 1) // seq_len
    if count == 0:
        return Examples(*torch.empty(2, 0, seq_len, dtype=torch.uint8))
    data = torch.frombuffer(bytearray(text[: count * seq_len + 1]), dtype=torch.uint8)
    return Examples(data[:-1].view(count, seq_len), data[1:].view(count, seq_len))


def split_of(relative_path: str, share: float, *, seed: int) -> int:
    """0 train, 1 val or 2 test, by a hash of the path alone."""
    leading = hashlib.sha256(f"{seed}:{relative_path}".encode()).digest()[:8]
    position = int.from_bytes(leading, "big") / 2**64
    return 1 if position < share else 2 if position < 2 * share else 0


def _by_file(texts: dict[str, bytes], config: DataConfig) -> list[bytes]:
    parts: list[list[bytes]] = [[], [], []]
    for path in sorted(texts):
        parts[split_of(path, config.val_share, seed=config.seed)].append(texts[path])
    return [END_OF_FILE.join(part) for part in parts]


def _stretches(texts: dict[str, bytes], config: DataConfig) -> list[bytes]:
    (text,) = texts.values()
    cut = round(len(text) * config.val_share)
    end = len(text) - 2 * cut
    return [text[:end], text[end : end + cut], text[end + cut :]]


def _stdlib() -> dict[str, bytes]:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in root.rglob("*.py") if NOT_STDLIB.isdisjoint(path.relative_to(root).parts)]
    if not files:
        raise DataError(f"no Python sources in the standard library at {root}; set data.path=FOLDER of text files")
    return _read(root, files)


def _user_texts(root: Path) -> dict[str, bytes]:
    if root.is_file():
        texts = _read(root.parent, [root])
    elif root.is_dir():
        texts = _read(root, [path for path in root.rglob("*") if path.is_file() and not _is_hidden(root, path)])
    else:
        raise DataError(
            f"data.path must be a text file or a folder of them, nothing is at {root}; set data.path=FOLDER"
        )
    if not texts:
        raise DataError(f"data.path must hold text, but {root} has no file that is neither empty nor binary")
    return texts


def _is_hidden(root: Path, path: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _read(root: Path, files: list[Path]) -> dict[str, bytes]:
    try:
        contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    except OSError as error:
        raise DataError(f"every text file must be readable: {error}; repair or remove it") from error
    return {path: content for path, content in contents.items() if content and END_OF_FILE not in content}
