"""Pages and payloads are made in a process of their own, which can be ended.

The server itself imports neither torch nor altair, answers while a page is made, and outlives whatever a run folder
does to its reader: that takes no more memory than it is given, and is started anew when it has grown or hangs.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from nas.dashboard.making import Job

TIMEOUT_S = 180.0
MOST_BYTES = 4 * 2**30
"""Of data that the process may have."""
GROWN_BYTES = 1536 * 2**20
"""Of memory beyond which it is ended after its work."""
IMPORTED = Path(__file__).parents[2]
"""Where the process finds this package; it does not look into the folder in which the server was started."""


class RenderError(Exception):
    """A page that could not be made; the message is for the reader."""


class Renderer:
    """One process that makes one thing at a time, started when there is something to make."""

    def __init__(
        self, timeout_s: float = TIMEOUT_S, most_bytes: int = MOST_BYTES, grown_bytes: int = GROWN_BYTES
    ) -> None:
        self._timeout_s, self._most_bytes, self._grown_bytes = timeout_s, most_bytes, grown_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def __call__(self, job: Job) -> bytes:
        """The page or payload, compressed by gzip; `RenderError` says why there is none."""
        with self._lock:
            try:
                made, memory = self._asked(job)
            except (EOFError, OSError) as error:
                self._end()
                raise RenderError("the process that read this run ended; its memory is limited") from error
            if memory > self._grown_bytes:
                self._end()
        if isinstance(made, str):
            raise RenderError(made)
        return made

    @property
    def process(self) -> int | None:
        """Its process id, while there is one."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def _asked(self, job: Job) -> tuple[bytes | str, int]:
        pipe = self._started()
        pipe.send(job)
        if not pipe.poll(self._timeout_s):
            self._end()
            raise RenderError(f"reading this run took more than {self._timeout_s:g} s and was given up")
        made, memory = pipe.recv()
        return made, memory

    def _started(self) -> Connection:
        if self._pipe is None or self._process is None or self._process.poll() is not None:
            self._end()
            self._pipe, theirs = multiprocessing.Pipe()
            handle = theirs.fileno()
            words = [sys.executable, "-P", "-m", "nas.dashboard.making", str(handle), str(self._most_bytes)]
            env = {**os.environ, "PYTHONPATH": str(IMPORTED)}
            self._process = subprocess.Popen(words, pass_fds=[handle], env=env, stdin=subprocess.DEVNULL)
            theirs.close()
        return self._pipe

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._pipe = self._process = None
