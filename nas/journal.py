"""Append-only logs of JSON rows that survive kills, that processes share, and that say when something was torn."""

import fcntl
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nas.errors import CheckpointError
from nas.progress import say

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Log:
    """JSON rows, one a line, each with a checksum, so that a torn last line is noticed and dropped."""

    path: Path

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row and forces it to disk: once this returns, the row survives a kill. Processes may share a log."""
        with self.locked() as session:
            session.write([row])

    def rows(self) -> list[Row]:
        """All whole rows; a torn last line is ignored, damage before it raises `CheckpointError`."""
        return self.tail(0)[0]

    def tail(self, offset: int) -> tuple[list[Row], int]:
        """The whole rows from byte `offset` on, and the offset behind them."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as stream:
            return _read_from(stream, offset, self.path)

    @contextmanager
    def locked(self) -> Iterator["Session"]:
        """The log for this process alone: what is read inside is all there is until it ends."""
        is_new = not self.path.exists()
        with self.path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if is_new:
                _sync_folder(self.path.parent)
            _repair(stream, self.path)
            yield Session(self.path, stream)


@dataclass(frozen=True, slots=True)
class Session:
    """A log that this process has locked."""

    path: Path
    stream: IO[bytes]

    def tail(self, offset: int) -> tuple[list[Row], int]:
        """See `Log.tail`."""
        return _read_from(self.stream, offset, self.path)

    def write(self, rows: Sequence[Mapping[str, Any]], *, sync: bool = True) -> int:
        """Adds rows and returns the log's new length; with `sync` they survive a loss of power, else only a kill."""
        self.stream.write(b"".join(map(_line, rows)))
        self.stream.flush()
        if sync:
            os.fsync(self.stream.fileno())
        return self.stream.tell()


class Owner:
    """This process among those that share a log; by a lock that it holds the others can tell whether it still lives."""

    def __init__(self, log: Path) -> None:
        self._log, self.name = log, uuid.uuid4().hex[:12]
        self._held = self._file(self.name).open("wb")
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def is_alive(self, name: str) -> bool:
        """Whether the owner of that name still holds its lock."""
        if name == self.name:
            return True
        try:
            with self._file(name).open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        self._file(name).unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """Gives up whatever was claimed under this name."""
        self._held.close()
        self._file(self.name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._log.with_name(f".{self._log.stem}-{name}.owner")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Waits until no other process holds the file, and holds it while inside; on a disk that knows locks."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def parsed(content: bytes) -> tuple[list[Row | None], int]:
    """The rows of all whole lines of a log's bytes, None for a damaged one, and how many bytes these lines take."""
    whole = content[: content.rfind(b"\n") + 1]
    return [_read(line) for line in whole.split(b"\n")[:-1]], len(whole)


def _read_from(stream: IO[bytes], offset: int, path: Path) -> tuple[list[Row], int]:
    stream.seek(offset)
    rows, length = parsed(stream.read())
    if any(row is None for row in rows):
        before = 0 if offset == 0 else _lines_before(stream, offset)
        number = before + rows.index(None) + 1
        raise CheckpointError(f"{path} line {number} is damaged: remove that line to go on without it")
    return [row for row in rows if row is not None], offset + length


def _lines_before(stream: IO[bytes], offset: int) -> int:
    stream.seek(0)
    return stream.read(offset).count(b"\n")


def _repair(stream: IO[bytes], path: Path) -> None:
    """Cuts a last line off that a killed writer left unfinished."""
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return
    stream.seek(size - 1)
    if stream.read(1) == b"\n":
        return
    stream.seek(0)
    end = stream.read().rfind(b"\n") + 1
    stream.truncate(end)
    say(f"{path}: removed a last line of {size - end} bytes that a killed writer left unfinished")


def _sync_folder(folder: Path) -> None:
    # a new file's name is on disk only once its folder is
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def finite(value: Any) -> Any:
    """The value with NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(row: Mapping[str, Any]) -> bytes:
    text = json.dumps(finite(row), sort_keys=True, separators=(",", ":"))
    return f"{_checksum(text)} {text}\n".encode()


def _read(line: bytes) -> Row | None:
    checksum, _, text = line.decode(errors="replace").partition(" ")
    if checksum != _checksum(text):
        return None
    try:
        row: Row = json.loads(text)
    except (ValueError, RecursionError):  # whoever wrote it gave it the checksum of what is no row
        return None
    return row


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
