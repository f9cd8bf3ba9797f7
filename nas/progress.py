"""One tidy line about a long stage: live on a terminal, a plain line now and then elsewhere; both say the same.

`train      120 of 400 steps, 6.2/s, 45 s left  largest 3.214`: what is done, the pace of this process, what is left at
that pace, and what the stage has to tell. However a stage ends, its last line stays.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

PLAIN_EVERY_S = 10.0
SECONDS = "s"
"""The unit of a stage that takes a given time."""


@dataclass
class Tracker:
    """Counts work done; `advance` is cheap and may be called often."""

    label: str
    total: float
    unit: str = ""
    bar: Progress | None = None
    done: float = 0.0
    before: float = 0.0
    """What earlier processes had done."""
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)
    was_done: float = -1.0
    """What the last plain line said."""

    def resume(self, done: float) -> None:
        """Sets what earlier processes have done, which says nothing about the pace of this one."""
        self.done = self.before = min(done, self.total)
        self._show()

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Adds finished work and shows it with a short note."""
        self.set(self.done + amount, note)

    def set(self, done: float, note: str = "") -> None:
        """Sets the finished work."""
        self.done, self.note = min(done, self.total), note
        self._show()

    def text(self, seconds: float) -> str:
        """What there is to say after so many seconds."""
        head = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}".rstrip()
        worked = self.done - self.before
        # a trace of the first of few units, start-up included, foretells nothing
        is_telling = worked >= min(1.0, self.total / 100) and worked > 0
        pace = worked / seconds if seconds > 0 and is_telling else 0.0
        if self.done >= self.total:
            parts = [head, f"in {lasting(seconds)}"] if worked else [head]
        else:
            parts = [head, f"{lasting((self.total - self.done) / pace)} left"] if pace else [head]
        if pace and self.unit != SECONDS:
            parts.insert(1, paced(pace))
        return f"{', '.join(parts)}  {self.note}".rstrip()

    def close(self) -> None:
        """Leaves the last line, on whatever the stage ended."""
        if self.bar is None and self.done != self.was_done:
            self._plain()

    def _show(self) -> None:
        if self.bar is not None:
            spent = time.monotonic() - self.started
            self.bar.update(self.bar.task_ids[0], completed=self.done, said=self.text(spent))
        elif time.monotonic() - self.shown > PLAIN_EVERY_S:
            self._plain()

    def _plain(self) -> None:
        self.shown, self.was_done = time.monotonic(), self.done
        say(f"{self.label:<9} {self.text(self.shown - self.started)}")


@contextmanager
def track(label: str, total: float, unit: str = "") -> Iterator[Tracker]:
    """A tracker for `total` units of work; `unit` is their name, many of them."""
    console = Console(stderr=True)
    if not console.is_terminal:
        tracker = Tracker(label, total, unit)
        try:
            yield tracker
        finally:
            tracker.close()
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(20),
        TextColumn("{task.fields[said]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console) as bar:
        bar.add_task(label, total=total, said="")
        yield Tracker(label, total, unit, bar)


def lasting(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def paced(per_s: float) -> str:
    """Work in time: a rate if it is fast, how long each takes if it is slow."""
    return f"{per_s:.3g}/s" if per_s >= 1 else f"{lasting(1 / per_s)} each"


def terminal_width() -> int | None:
    """Columns of the terminal that standard output goes to; None if it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(text: str) -> None:
    """Prints a result; what the terminal has no letter for becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


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
