"""What a run folder holds, from names and times alone."""

import os
from pathlib import Path

from nas.presence import PROGRESS

MOST_SEARCHES = 64
MOST_WINNERS = 1000
MOST_TUNINGS = 64


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


def latest_trials(folder: Path, since: float) -> str:
    """The file, by its name in the run, that says how far the trials of a ranking or tuning are; none from before."""
    found = []
    for name in ("rank/trials", *_tunings(folder)):
        try:
            found.append(((folder / name / PROGRESS).stat().st_mtime, f"{name}/{PROGRESS}"))
        except OSError:  # none of these, or not begun
            continue
    changed, name = max(found, default=(0.0, ""))
    return name if changed >= since else ""


def _tunings(folder: Path) -> list[str]:
    try:
        with os.scandir(folder / "tune") as entries:
            return [f"tune/{entry.name}" for _, entry in zip(range(MOST_TUNINGS), entries, strict=False)]
    except OSError:
        return []


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
