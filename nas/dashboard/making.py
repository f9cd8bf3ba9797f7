"""The process in which pages and payloads are made: `python -m nas.dashboard.making <file descriptor of a pipe>`."""

import gzip
import os
import resource
import signal
import sys
from collections import OrderedDict
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nas.report.read import Reader

Want = Literal["page", "payload"]
MOST_READERS = 8
LEVEL = 3
"""Of compression: 0.03 s for 1 MB of payload."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to make of which runs: the first is the page's own, the others stand beside it."""

    want: Want
    folders: tuple[Path, ...]
    prefix: str


class Readers:
    """Readers of the runs that were asked for last, so that what they hold is read on and not anew."""

    def __init__(self, most: int = MOST_READERS) -> None:
        self._most = most
        self._kept: OrderedDict[Path, Reader] = OrderedDict()

    def of(self, folder: Path) -> "Reader":
        """The reader of a run."""
        from nas.report.read import Reader
        from nas.run import Run

        self._kept[folder] = self._kept.pop(folder) if folder in self._kept else Reader(Run(folder))
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[folder]


def serve(pipe: Connection, most_bytes: int) -> None:
    """Takes jobs and gives back what came of each and the bytes of memory taken, until the other end is closed.

    What came is bytes compressed by gzip, or a text that says why there are none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process, not the terminal
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
    os.nice(5)  # a search on the same machine comes first
    readers = Readers()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        pipe.send((_made(job, readers), _memory()))


def _made(job: Job, readers: Readers) -> bytes | str:
    try:
        return gzip.compress(_text(job, readers).encode(errors="replace"), LEVEL, mtime=0)
    except MemoryError:
        return "reading this run needs more memory than it is given"
    except Exception as error:  # noqa: BLE001 (whatever a folder does to its reader, the reader goes on)
        return f"this run cannot be shown ({type(error).__name__}: {str(error)[:300]})"


def _text(job: Job, readers: Readers) -> str:
    from nas.report import page as report  # torch and altair take a second to import

    record, *beside = (readers.of(folder).read() for folder in job.folders)
    if job.want == "page":
        return report.page(record, live=job.prefix, beside=beside)
    return report.inlined(report.payload(record, beside=beside))


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
