"""The run folders below the folders that were given, each under a key from which no path can be made.

A request names a run by its key, and a key is looked up among the runs that were found: what is not below one of the
folders has none. Links are not followed, neither to folders nor inside a run.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MARKS = ("run.json", "summary.json")
"""A folder that holds one of them is a run."""
DEEPEST = 6
MOST_ENTRIES = 20_000
"""Of files and folders that are looked at below one folder that was given, or in one run."""
FRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class Folder:
    """One run: its key in addresses, its path, and how it is called below the folder that was given."""

    key: str
    path: Path
    label: str


class Folders:
    """All runs below some folders, looked for again when they are asked for and the last look is some seconds old."""

    def __init__(self, roots: Sequence[Path], fresh_s: float = FRESH_S) -> None:
        self.roots = tuple(root.resolve() for root in roots)
        self._fresh_s, self._looked = fresh_s, -fresh_s
        self._found: dict[str, Folder] = {}
        self.is_cut = False
        """Whether there was more than is looked at."""

    def all(self) -> dict[str, Folder]:
        """Key -> run, by label."""
        if time.monotonic() - self._looked >= self._fresh_s:
            self._found, self.is_cut = _look(self.roots)
            self._looked = time.monotonic()
        return self._found

    def get(self, key: str) -> Folder | None:
        """The run of this key, unless there is none or it has become a link that leads elsewhere."""
        found = self.all().get(key)
        return found if found is not None and found.path.resolve() == found.path else None


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits that differ as soon as a file of the folder is added, taken away, changed or has grown."""
    digest = hashlib.sha256()
    for entry in sorted(_files(folder)):
        digest.update(repr(entry).encode())
    return digest.hexdigest()[:16]


def last_change(folder: Path) -> float:
    """Seconds since the epoch at which a file of the folder was last written; 0 of an empty one."""
    return max((changed for _, changed, _ in _files(folder)), default=0) / 1e9


def key_of(path: Path) -> str:
    """Twelve hex digits of a path, the same as long as it has this name."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _look(roots: Sequence[Path]) -> tuple[dict[str, Folder], bool]:
    found, is_cut = [], False
    for root in roots:
        paths, is_more = _runs(root)
        found += [Folder(key_of(path), path, _label(path, root)) for path in paths]
        is_cut |= is_more
    return {one.key: one for one in sorted(found, key=lambda one: one.label)}, is_cut


def _label(path: Path, root: Path) -> str:
    return os.fsencode(root.name if path == root else path.relative_to(root)).decode(errors="replace")


def _runs(root: Path) -> tuple[list[Path], bool]:
    """Runs from here on, the shallow ones first, and whether there may be more; a run's own folders hold none."""
    found, left = [], [MOST_ENTRIES]
    waiting = deque([(root, 0)])
    while waiting:
        folder, depth = waiting.popleft()
        entries = _entries(folder, left)
        if any(entry.name in MARKS and entry.is_file(follow_symlinks=False) for entry in entries):
            found.append(folder)
        elif depth < DEEPEST:
            inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
            waiting += [(Path(entry.path), depth + 1) for entry in inner if not entry.name.startswith(".")]
    return found, left[0] <= 0


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Path, time of the last change in nanoseconds and size of the files of a run, up to a number of them."""
    left, waiting = [MOST_ENTRIES], [folder]
    while waiting:
        for entry in _entries(waiting.pop(), left):
            if entry.name.startswith("."):  # drafts and locks
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
                continue
            try:
                known = entry.stat(follow_symlinks=False)
            except OSError:  # gone since
                continue
            yield entry.path, known.st_mtime_ns, known.st_size


def _entries(folder: Path, left: list[int]) -> list[os.DirEntry[str]]:
    """What a folder holds as long as `left` has some; nothing of one that is out of reach."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if left[0] <= 0:
                    break
                left[0] -= 1
                found.append(entry)
    except OSError:
        return []
    return found
