"""One tidy line about a long stage: live on a terminal, a plain line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_S = 10.0


@dataclass
class Tracker:
    """Counts work done; `advance` is cheap and may be called often."""

    label: str
    total: float
    bar: Progress | None = None
    done: float = 0.0
    started: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Adds finished work and shows it with a short note."""
        self.set(self.done + amount, note)

    def set(self, done: float, note: str = "") -> None:
        """Sets the finished work, for a stage that resumes in the middle."""
        self.done = min(done, self.total)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=self.done, note=note)
        elif time.monotonic() - self.shown > PLAIN_EVERY_S:
            self._plain(note)

    def _plain(self, note: str) -> None:
        self.shown = time.monotonic()
        spent = self.shown - self.started
        left = f", {spent / self.done * (self.total - self.done):.0f} s left" if self.done else ""
        print(
            f"{self.label}: {self.done / max(self.total, 1e-9):4.0%}{left}  {note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def track(label: str, total: float) -> Iterator[Tracker]:
    """A tracker for `total` units of work."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Tracker(label, total)
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(24),
        TextColumn("{task.percentage:>4.0f}%"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        bar.add_task(label, total=total, note="")
        yield Tracker(label, total, bar)


def say(text: str) -> None:
    """One line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def watching(look: Callable[[], None], every_s: float) -> Iterator[None]:
    """Calls `look` every so often in a thread while inside, and once at the end: where a library holds the main one."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            look()
        look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
