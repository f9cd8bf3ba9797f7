"""Reading folders that others write to: plain files that lie inside, so much at a time, whatever is in them.

Nothing here runs, follows a link out of its folder, waits for a pipe, or takes more memory than its limits allow.
"""

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nas.journal import Row, parsed

CHUNK_BYTES = 8 * 2**20


class UnreadableError(Exception):
    """What is there and is not read: a link out of its folder, no plain file, too large, damaged."""


def opened(root: Path, name: str) -> IO[bytes]:
    """The file `name` below `root`; `UnreadableError`, or `FileNotFoundError` if nothing is there."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UnreadableError("leads out of the run folder, left out")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnreadableError("not a plain file, left out")
    return os.fdopen(handle, "rb", buffering=0)


def content(root: Path, name: str, most: int) -> bytes:
    """All bytes of a file of at most `most`."""
    with opened(root, name) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > most:
            raise UnreadableError(f"{size:,} bytes, left out since at most {most:,} are read")
        return stream.read(most) or b""


def value(root: Path, name: str, most: int) -> Any:
    """The JSON value of a file of at most `most` bytes."""
    try:
        return json.loads(content(root, name, most))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"damaged ({type(error).__name__}: {error})") from error


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond what a float can hold
        return None


def mapping(value: Any) -> dict[str, Any]:
    """A mapping, empty if the value is none."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


@dataclass(slots=True)
class Tail:
    """A log that is read on from where it was read last, `most` bytes at a time; it may grow, be cut or replaced."""

    root: Path
    name: str
    most: int = CHUNK_BYTES
    damaged: int = 0
    """Lines that were left out since they are not what their checksum says, or too long."""
    starts: int = 0
    """How often reading has begun at the first line: all rows from before are void once it grows."""
    is_over: bool = True
    """Whether all that was there has been read."""
    _offset: int = 0
    _file: tuple[int, int] | None = None
    _is_inside: bool = field(default=False)
    """Whether reading goes on in the middle of a line that is too long."""

    def more(self) -> list[Row]:
        """The next whole rows; none of a file that is not there. `UnreadableError` as by `opened`."""
        try:
            with opened(self.root, self.name) as stream:
                return self._more(stream)
        except FileNotFoundError:
            self.is_over = True
            return []

    def _more(self, stream: IO[bytes]) -> list[Row]:
        known = os.fstat(stream.fileno())
        if self._file != (known.st_dev, known.st_ino) or known.st_size < self._offset:
            self._file, self._offset, self._is_inside = (known.st_dev, known.st_ino), 0, False
            self.starts, self.damaged = self.starts + 1, 0
        stream.seek(self._offset)
        chunk = stream.read(self.most) or b""
        found, used = parsed(chunk)
        if not used and len(chunk) == self.most:  # a line without an end
            self.damaged += not self._is_inside
            used, self._is_inside = len(chunk), True
        elif self._is_inside and found:
            found, self._is_inside = found[1:], False
        self._offset += used
        self.is_over = len(chunk) < self.most
        self.damaged += found.count(None)
        return [row for row in found if isinstance(row, dict)]
