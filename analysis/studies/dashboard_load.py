"""What does `nas dashboard` cost beside a search? Loopback only; synthetic runs in a temporary folder.

    python -m analysis.studies.dashboard_load [--archs 1000 100000] [--seconds 180] [--rows 3600] [--viewers 20]

Per size of a run: seconds from the start of the command to its first answer, of the list, of the first payload, of a
payload asked for again without a change, and after one more evaluation (median of three); memory of the server and of
the process that makes its pages. Then `--rows` evaluations, an hour's of a search with one a second, are appended
within `--seconds` while so many viewers hold streams and one of them fetches each payload that it is told of: memory
and CPU time over time.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from analysis.studies.page_speed import made
from nas.run import Run

REPEATS = 3
TOLD_EVERY_S = 20.0


@dataclass
class Dashboard:
    """The command in a process of its own."""

    process: psutil.Popen
    port: int
    start_s: float

    def get(self, path: str) -> tuple[bytes, float]:
        """A body, compressed where it can be, and the seconds until all of it is there."""
        start = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"} if path.endswith("payload") else {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{path} was answered by {answer.status}: {body[:200]!r}")
        return body, time.perf_counter() - start

    def memory(self) -> tuple[float, float]:
        """MB of the server and of the process that makes its pages."""
        makers = self.process.children(recursive=True)
        return self.process.memory_info().rss / 2**20, sum(one.memory_info().rss for one in makers) / 2**20

    def cpu_s(self) -> float:
        """Seconds of CPU time, both together."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))

    def run(self) -> str:
        """The address of its first run."""
        found = re.search(r'href="(/run/[0-9a-f]+)/"', self.get("/")[0].decode())
        assert found is not None
        return found[1]


@contextlib.contextmanager
def dashboard(folder: Path) -> Iterator[Dashboard]:
    start = time.perf_counter()
    words = [sys.executable, "-m", "nas.cli", "dashboard", str(folder), "--port", "0"]
    process = psutil.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        said = re.search(r":(\d+)/", process.stderr.readline())
        assert said is not None
        started = Dashboard(process, int(said[1]), 0.0)
        started.get("/")
        started.start_s = time.perf_counter() - start
        yield started
    finally:
        process.terminate()
        process.wait(30)


def searched(folder: Path, count: int, more: int) -> tuple[Run, list[dict[str, Any]]]:
    """A run with so many evaluations, and rows of others that are still to come."""
    run = made(folder, count + more)
    run.write_json("run.json", {"settings": {"search": {"name": "main", "budget": 2 * count}}})
    log = run.log("search/main/archive.jsonl")
    rows = log.rows()
    log.path.unlink()
    with log.locked() as session:
        session.write(rows[:count])
    return run, rows[count:]


def changed(served: Dashboard, address: str, run: Run, row: dict[str, Any]) -> float:
    """Seconds of the payload that has one evaluation more, asked for until the server's rest is over."""
    before, _ = served.get(f"{address}/payload")
    run.log("search/main/archive.jsonl").append(row)
    while True:
        time.sleep(0.25)
        found, seconds = served.get(f"{address}/payload")
        if found != before:
            return seconds


def sized(folder: Path, count: int) -> str:
    """A row of the first table."""
    run, rows = searched(folder / "run", count, REPEATS)
    with dashboard(folder) as served:
        address = served.run()
        listed, (body, first), again = served.get("/")[1], *(served.get(f"{address}/payload") for _ in "12")
        news = [changed(served, address, run, row) for row in rows]
        cells = (served.start_s, listed, first, again[1], statistics.median(news))
        memory = served.memory()
    seconds = " | ".join(f"{cell:.3f}" for cell in cells)
    return f"| {count:,} | {seconds} | {len(body) / 1e6:.2f} | {memory[0]:.0f} | {memory[1]:.0f} |"


@dataclass
class Viewer:
    """A page that is open: a stream, and if it `fetches`, a payload after each event."""

    served: Dashboard
    address: str
    fetches: bool
    events: int = 0
    seconds: list[float] = field(default_factory=list)
    is_over: bool = False

    def watch(self) -> None:
        """Reads the stream until it is over."""
        connection = HTTPConnection("127.0.0.1", self.served.port, timeout=60)
        connection.request("GET", f"{self.address}/events")
        answer = connection.getresponse()
        while not self.is_over and (line := answer.readline()):
            if line.startswith(b"data:"):
                self.events += 1
                if self.fetches:
                    self.seconds.append(self.served.get(f"{self.address}/payload")[1])
        connection.close()


def hour(folder: Path, count: int, rows: int, seconds: float, viewers: int) -> None:
    """The second table."""
    run, others = searched(folder / "run", count, rows)
    with dashboard(folder) as served:
        address = served.run()
        served.get(f"{address}/payload")
        watching = [Viewer(served, address, fetches=i == 0) for i in range(viewers)]
        threads = [threading.Thread(target=viewer.watch, daemon=True) for viewer in watching]
        for thread in threads:
            thread.start()
        print("| s | evaluations added | MB server | MB maker | events a viewer | payloads | their median s | CPU s |")
        print("|---" * 8 + "|")
        append(run, others, seconds, served, watching)
        for viewer in watching:
            viewer.is_over = True


def append(
    run: Run, rows: Sequence[dict[str, Any]], seconds: float, served: Dashboard, watching: Sequence[Viewer]
) -> None:
    start, told = time.perf_counter(), 0.0
    for i, row in enumerate(rows):
        run.log("search/main/archive.jsonl").append(row)
        left = (i + 1) / len(rows) * seconds - (time.perf_counter() - start)
        time.sleep(max(0.0, left))
        spent = time.perf_counter() - start
        if spent - told >= TOLD_EVERY_S or i == len(rows) - 1:
            told = spent
            fetched = watching[0].seconds
            cells = [*served.memory(), watching[-1].events, len(fetched), statistics.median(fetched or [0.0])]
            text = " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells)
            print(f"| {spent:.0f} | {i + 1} | {text} | {served.cpu_s():.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="*", type=int, default=[1000, 100_000])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--rows", type=int, default=3600)
    parser.add_argument("--viewers", type=int, default=20)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        print("| archs | s to first answer | s list | s first payload | s again | s after one more | MB gzip", end=" ")
        print("| MB server | MB maker |\n" + "|---" * 9 + "|")
        for count in asked.archs:
            print(sized(folder / str(count), count), flush=True)
        hour(folder / "hour", 1000, asked.rows, asked.seconds, asked.viewers)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
