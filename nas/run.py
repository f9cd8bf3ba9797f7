"""A run folder: the only writer of artefacts, safe against a kill at any moment.

run.json        what was asked for and where: overrides, config, versions, machine; one entry per stage
supernet/       weights, optimiser state and training log
profile/        the device and the predictor's error card; the tables themselves are shared, in `devices` beside the run
search/<name>/  archive.jsonl (every evaluation), front.json
rank/           what inherited scores are worth; its trainings are shared, in `standalone` beside the run
retrain/<arch>/ standalone networks;  export/<arch>/ exported ones
summary.json    every figure under a dotted name;  report.html
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import CheckpointError
from nas.journal import Log, finite
from nas.presence import FILE, at_work


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

    def log(self, name: str) -> Log:
        """An append-only log of JSON rows."""
        return Log(self.file(name))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside, also when interrupted, to `stage.<name>.seconds`, and says who is at work."""
        start = time.perf_counter()
        try:
            with at_work(self.path, name):
                yield
        finally:
            key = f"stage.{name}.seconds"
            before = float(self.read_json("summary.json", {}).get(key, 0.0))
            self.record({key: round(before + time.perf_counter() - start, 2)})

    def withdraw(self) -> None:
        """Removes the folder if it holds nothing but the record of a call that was refused."""
        notes = {"run.json", "summary.json", FILE}
        if {entry.name for entry in self.path.iterdir()} <= notes:
            for name in notes:
                (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()


def write_atomic(path: Path, content: bytes) -> Path:
    """Writes a file so that a reader, or a restart, sees the old content or the new one and nothing between."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
    return path
