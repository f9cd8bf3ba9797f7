"""What a run folder holds, from names and times alone."""

import os
from pathlib import Path

MOST_SEARCHES = 64
MOST_WINNERS = 1000


def is_search(folder: Path, name: str) -> bool:
    """Whether the run has a search of this name."""
    return bool(name) and Path(name).name == name and (folder / "search" / name / "archive.jsonl").is_file()


def latest_search(folder: Path) -> str:
    """The search whose journal was written last."""
    found = []
    try:
        with os.scandir(folder / "search") as entries:
            for _, entry in zip(range(MOST_SEARCHES), entries, strict=False):
                journal = Path(entry.path) / "archive.jsonl"
                if entry.is_dir(follow_symlinks=False) and journal.is_file():
                    found.append((journal.stat().st_mtime, entry.name))
    except OSError:
        return ""
    return max(found)[1] if found else ""


def winners_since(folder: Path, since: float) -> int:
    """Winners that were trained since then."""
    found = 0
    try:
        with os.scandir(folder / "retrain") as entries:
            for _, entry in zip(range(MOST_WINNERS), entries, strict=False):
                result = Path(entry.path) / "result.json"
                found += result.is_file() and result.stat().st_mtime >= since
    except OSError:  # nothing yet, or gone since
        return found
    return found
