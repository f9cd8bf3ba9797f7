"""A run folder: the only writer of artefacts, safe against a kill at any moment.

run.json        what was asked for and where: overrides, config, versions, machine; one entry per stage
supernet/       weights, optimiser state and training log
profile/        the device and the predictor's error card; the tables themselves are shared, in `devices` beside the run
search/<name>/  archive.jsonl (every evaluation), front.json
retrain/<arch>/ standalone networks;  export/<arch>/ exported ones
summary.json    every figure under a dotted name;  report.html
"""

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nas.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> "Run":
        """The run at this path, its folder made if missing."""
        folder = Path(path).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder)

    def file(self, name: str) -> Path:
        """Path of an artefact, with its folder made."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON artefact whole or not at all; keys stay in order, which in a search space has a meaning."""
        return write_atomic(self.file(name), (json.dumps(finite(value), indent=1) + "\n").encode())

    def read_json(self, name: str, default: Any = None) -> Any:
        """The JSON artefact; `default` if it does not exist; `CheckpointError` if it is damaged."""
        target = self.path / name
        if not target.exists():
            return default
        try:
            return json.loads(target.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{target} is damaged ({error}): delete it and run its stage again") from error

    def record(self, figures: Mapping[str, float | int | str | None]) -> None:
        """Merges figures under dotted names into `summary.json`."""
        known = self.read_json("summary.json", {})
        self.write_json("summary.json", dict(sorted({**known, **figures}.items())))

    def log(self, name: str) -> "Log":
        """An append-only log of JSON rows."""
        return Log(self.file(name))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside, also when interrupted, to `stage.<name>.seconds`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            key = f"stage.{name}.seconds"
            before = float(self.read_json("summary.json", {}).get(key, 0.0))
            self.record({key: round(before + time.perf_counter() - start, 2)})


@dataclass(frozen=True, slots=True)
class Log:
    """JSON rows, one a line, each with a checksum, so that a torn last line is noticed and dropped."""

    path: Path

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row and forces it to disk: once this returns, the row survives a kill. Processes may share a log."""
        with self.path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            _repair(stream)
            stream.write(_line(row))
            stream.flush()
            os.fsync(stream.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a torn last line is ignored, damage before it raises `CheckpointError`."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        rows = [_read(line) for line in lines[:-1]]
        if any(row is None for row in rows):
            number = rows.index(None) + 1
            raise CheckpointError(f"{self.path} line {number} is damaged: remove that line to go on without it")
        return [row for row in rows if row is not None]


def _repair(stream: IO[bytes]) -> None:
    """Cuts a last line off that a killed writer left unfinished."""
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        return
    stream.seek(size - 1)
    if stream.read(1) != b"\n":
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


def write_atomic(path: Path, content: bytes) -> Path:
    """Writes a file so that a reader, or a restart, sees the old content or the new one and nothing between."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
    return path


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


def _read(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.decode(errors="replace").partition(" ")
    if checksum != _checksum(text):
        return None
    row: dict[str, Any] = json.loads(text)
    return row


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
