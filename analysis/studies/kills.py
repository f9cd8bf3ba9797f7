"""Is a search whose nodes and driver are killed at random the same as one that nobody disturbs?

python -m analysis.studies.kills [rounds] [strategy ...]
"""

import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psutil import pid_exists

from nas.journal import Log
from nas.resources import ROOT
from nas.searching import cluster, strategies
from nas.searching.archive import Archive
from nas.searching.engine import Pace, search
from nas.searching.objectives import Objective, Values
from nas.searching.problem import Problem
from nas.searching.settings import RayConfig
from nas.searching.workers import RayExecutor
from nas.space import as_space

NODES, BUDGET, SEED = 3, 60, 0
SPACE = {f"knob{i}": [1, 2, 3, 4, 5] for i in range(8)}
PROBLEM = Problem(as_space(SPACE), (Objective("cost"), Objective("gain", "maximise")))
SLEEP_S = 0.2
PATIENCE_S = 120.0


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Two objectives that depend on the point alone; notes its process and each point in a file beside the archive."""

    notes: Path

    def __call__(self, point: Any) -> Values:
        """The values, after a time that differs from point to point."""
        chance = random.Random(point.digest)
        time.sleep(SLEEP_S * 2 * chance.random())
        with self.notes.open("a") as stream:
            stream.write(f"{os.getpid()} {point.digest}\n")
        values = list(point.values())
        return {"cost": float(sum(values)), "gain": float(sum(v**0.5 for v in values[::2])) + chance.random()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a round left, and what it should have."""

    strategy: str
    kills: str
    evaluated: int
    distinct: int
    scored: int
    scored_though_kept: int
    same_points: bool
    same_front: bool
    orphans: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Complete, nothing twice, the same as if undisturbed, and nobody left over."""
        whole = self.evaluated == self.distinct == BUDGET and not self.scored_though_kept and not self.orphans
        return whole and self.same_points and self.same_front


class Run:
    """A folder with an archive, filled by drivers that are processes of their own."""

    def __init__(self, folder: Path, address: str, strategy: str) -> None:
        folder.mkdir(parents=True)
        self.log, self.notes, self._said = Log(folder / "archive.jsonl"), folder / "notes", folder / "said"
        self._driver: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "analysis.studies.kills", "drive", address, strategy, str(folder)]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The evaluations on disk."""
        return [row for row in self.log.rows() if "values" in row]

    @property
    def scored(self) -> list[tuple[int, str]]:
        """Process and digest of every evaluation that was made, kept or not."""
        lines = self.notes.read_text().split("\n")[:-1] if self.notes.exists() else []
        return [(int(pid), digest) for pid, digest in map(str.split, lines)]

    def start(self) -> None:
        """A driver that begins or goes on."""
        with self._said.open("ab") as said:
            self._driver = subprocess.Popen(self._command, stderr=said, stdout=said, cwd=ROOT)

    def until(self, count: int) -> None:
        """Waits for that many rows; the driver must still be there, or be done."""
        end = time.monotonic() + PATIENCE_S
        while len(self.rows) < count:
            ended = self._driver is None or self._driver.poll() not in (None, 0)
            if ended or time.monotonic() > end:
                state = "gone" if ended else "stuck"
                raise RuntimeError(f"{len(self.rows)} of {count} rows, driver {state}:\n{self._said.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends the driver as the kernel would."""
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()

    def finish(self) -> None:
        """Waits for the driver's own end."""
        if self._driver is None or self._driver.wait(timeout=PATIENCE_S):
            raise RuntimeError(f"the driver failed:\n{self._said.read_text()}")


def drive(address: str, strategy: str, folder: str) -> None:
    """The driver's program."""
    archive = Archive(Log(Path(folder) / "archive.jsonl"), PROBLEM.space)
    executor = RayExecutor(Scorer(Path(folder) / "notes"), NODES, RayConfig(address=address))
    made = strategies.get(strategy)(PROBLEM, seed=SEED, first=12)
    search(PROBLEM, made, executor, archive, budget=BUDGET, pace=Pace(reproducible=True))
    executor.close()
    archive.close()


@contextmanager
def nodes() -> Iterator[Any]:
    """A cluster of a head without cores and workers' nodes with one core each."""
    cluster.import_ray()
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        made.add_node(num_cpus=1)
    try:
        yield made
    finally:
        made.shutdown()


def undisturbed(made: Any, strategy: str, folder: Path) -> Run:
    """The search that the others are compared with."""
    run = Run(folder, made.address, strategy)
    run.start()
    run.finish()
    return run


def disturbed(made: Any, strategy: str, folder: Path, rng: random.Random, twin: Run) -> Result:
    """A search with a node and the driver killed at random numbers of rows, in either order."""
    run, start = Run(folder, made.address, strategy), time.monotonic()
    kills = sorted(zip(rng.sample(range(BUDGET), 2), rng.sample(["node", "driver"], 2), strict=True))
    kept, before, orphans = set[str](), 0, 0
    run.start()
    for count, kind in kills:
        run.until(count)
        if kind == "node":
            made.remove_node(rng.choice(sorted(made.worker_nodes, key=lambda node: node.node_id)), allow_graceful=False)
            continue
        run.kill()
        kept, before = {row["digest"] for row in run.rows}, len(run.scored)
        orphans = left_over({pid for pid, _ in run.scored})
        run.start()
    run.finish()
    made.add_node(num_cpus=1)
    digests = [row["digest"] for row in run.rows]
    return Result(
        strategy=strategy,
        kills=", ".join(f"{kind} at {count}" for count, kind in kills),
        evaluated=len(digests),
        distinct=len(set(digests)),
        scored=len(run.scored),
        scored_though_kept=len(kept & {digest for _, digest in run.scored[before:]}),
        same_points=contents(run.rows) == contents(twin.rows),
        same_front=front(run.rows) == front(twin.rows),
        orphans=orphans,
        seconds=time.monotonic() - start,
    )


def left_over(pids: set[int], patience_s: float = 30.0) -> int:
    """How many of a killed driver's workers are still there after a while."""
    end = time.monotonic() + patience_s
    while (alive := [pid for pid in pids if pid_exists(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    return len(alive)


def contents(rows: Sequence[dict[str, Any]]) -> dict[str, Values]:
    return {row["digest"]: row["values"] for row in rows}


def front(rows: Sequence[dict[str, Any]]) -> set[str]:
    return {rows[i]["digest"] for i in PROBLEM.front([row["values"] for row in rows])}


def main(rounds: int, names: Sequence[str]) -> None:
    results = []
    with nodes() as made, tempfile.TemporaryDirectory() as folder:
        for name in names:
            twin, rng = undisturbed(made, name, Path(folder) / name / "twin"), random.Random(name)
            for i in range(rounds):
                results.append(disturbed(made, name, Path(folder) / name / str(i), rng, twin))
                print(json.dumps(dataclasses.asdict(results[-1])), flush=True)
    print(f"\n{'strategy':12} {'rounds':>6} {'good':>5} {'scored beyond the budget, mean and most':>40}")
    for name in names:
        own = [result for result in results if result.strategy == name]
        extra = [result.scored - BUDGET for result in own]
        good = sum(result.is_good for result in own)
        print(f"{name:12} {len(own):6} {good:5} {sum(extra) / len(extra):30.1f} {max(extra):9}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(*sys.argv[2:5])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:] or ["random", "nsga2"])
