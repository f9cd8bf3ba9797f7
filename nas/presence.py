"""Who is at work in a run folder: a file that says which stage, and a lock on it that ends with the process.

So whoever looks on, without being asked and without asking, can tell a stage that goes on from one that ended, was
stopped, or was killed.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.untrusted import UnreadableError, opened, value

FILE = ".at_work"
PROGRESS = "progress.json"
"""In a folder of trials: how many of them are done, parts of some among them, and how many there are."""
MOST_BYTES = 4096
OUTCOMES = ("done", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Presence:
    """The stage that was begun last, when (seconds since the epoch), how it ended, and whether it still goes on."""

    stage: str
    since: float
    outcome: str
    """Empty as long as nobody has said: while it goes on, and for ever once its process was killed."""
    is_alive: bool

    @property
    def state(self) -> str:
        """One word: running, done, failed, stopped or killed."""
        return "running" if self.is_alive else self.outcome if self.outcome in OUTCOMES else "killed"


@contextmanager
def at_work(folder: Path, stage: str) -> Iterator[None]:
    """Says in the folder that this process is at a stage, and at the end how it went."""
    with (folder / FILE).open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        since = time.time()
        _write(stream, {"stage": stage, "since": since, "outcome": ""})
        outcome = "stopped"
        try:
            yield
            outcome = "done"
        except Exception:
            outcome = "failed"
            raise
        finally:
            _write(stream, {"stage": stage, "since": since, "outcome": outcome})


def presence(folder: Path) -> Presence | None:
    """Who is or was at work there last; None if nobody said so."""
    try:
        found = value(folder, FILE, MOST_BYTES)
        since = float(found["since"])
        return Presence(str(found["stage"]), since, str(found["outcome"]), is_alive=_is_held(folder))
    except (OSError, UnreadableError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _write(stream: Any, said: dict[str, Any]) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(json.dumps(said))
    stream.flush()


def _is_held(folder: Path) -> bool:
    with opened(folder, FILE) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
