"""A run folder's files for whoever reads it more than once: what has not changed is kept, logs are read on.

Files are read as `nas.untrusted` reads them, and what is left out is said in one line each.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from nas.journal import Row
from nas.untrusted import Tail, UnreadableError, opened, value

JSON_BYTES = 64 * 2**20
"""The most that is read of a file that holds one value."""
LOG_BYTES = 256 * 2**20
"""The most that is read of a log: some 500,000 evaluations."""
WEIGHTS_BYTES = 8 * 2**30
MOST_FOLDERS = 2000
"""Folders of one kind that are looked into, such as those of winners."""
T = TypeVar("T")


class Files:
    """The files of one run folder; `begin` starts a new look at them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[str] = []
        """What could not be read since `begin`, one line each."""
        self._kept: dict[str, tuple[tuple[int, int], Any, str]] = {}
        self._used: set[str] = set()

    def begin(self) -> None:
        """Forgets what was skipped, and what was not asked for since the last time."""
        self._kept = {name: kept for name, kept in self._kept.items() if name in self._used}
        self.skipped, self._used = [], set()

    def json(self, name: str) -> Any:
        """The value of a JSON file; None if there is none that can be read."""
        return self._made(name, lambda: value(self.root, name, JSON_BYTES))

    def digest(self, name: str) -> str:
        """Sixteen hex digits of a file's content; empty without one."""
        return self._made(name, lambda: _digest(self.root, name)) or ""

    def tail(self, name: str) -> Tail:
        """A log from its first row on, for `rows`."""
        return Tail(self.root, name)

    def rows(self, tail: Tail) -> Iterator[list[Row]]:
        """What a log has got since it was read last, some rows at a time; what is damaged is left out and said."""
        try:
            size = os.stat(self.root / tail.name).st_size
            if size > LOG_BYTES:
                raise UnreadableError(f"{size:,} bytes, left out since at most {LOG_BYTES:,} are read")
            yield tail.more()
            while not tail.is_over:
                yield tail.more()
        except FileNotFoundError:
            return
        except (OSError, UnreadableError) as error:
            self.skipped.append(f"{tail.name}: {error}")
        if tail.damaged:
            self.skipped.append(f"{tail.name}: damaged lines left out: {tail.damaged:,}")

    def matching(self, pattern: str) -> list[str]:
        """Names of the files of this pattern, in order, up to a number of them."""
        found = list(islice(self.root.glob(pattern), MOST_FOLDERS + 1))
        if len(found) > MOST_FOLDERS:
            self.skipped.append(f"{pattern}: more than {MOST_FOLDERS:,}, the others are left out")
        return sorted(str(path.relative_to(self.root)) for path in found[:MOST_FOLDERS])

    def _made(self, name: str, make: Any) -> Any:
        self._used.add(name)
        try:
            known = os.stat(self.root / name)
        except OSError:
            return None
        mark = (known.st_mtime_ns, known.st_size)
        if name not in self._kept or self._kept[name][0] != mark:
            try:
                self._kept[name] = mark, make(), ""
            except (OSError, UnreadableError) as error:
                self._kept[name] = mark, None, str(error)
        _, found, reason = self._kept[name]
        if reason:
            self.skipped.append(f"{name}: {reason}")
        return found


def _digest(root: Path, name: str) -> str:
    with opened(root, name) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > WEIGHTS_BYTES:
            raise UnreadableError(f"{size:,} bytes, left out since at most {WEIGHTS_BYTES:,} are read")
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]  # type: ignore[arg-type]  # raw files read into


def changed_last(files: Files, names: list[str]) -> list[str]:
    """The names by the time of their last change, the newest at the end."""

    def moment(name: str) -> tuple[float, str]:
        try:
            return (files.root / name).stat().st_mtime, name
        except OSError:  # gone since
            return 0.0, name

    return sorted(names, key=moment)


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row of a journal is a full evaluation: it also says who is at what."""
    return "claim" not in row and "journal" not in row and row.get("fidelity", 1.0) == 1.0
