"""How much faster does the search's scorer score than plain passes one by one, at the same scores?

python -m analysis.studies.prefix_reuse runs/<run> [archs] [repeats] [examples] [batch size]

Of three sequences: the run's search archive in its order (if it has one), batches of children of some parents as a
surrogate search breeds them, each batch in the scorer's order, and archs drawn at random. Plain and new take turns
after every batch, each repeat with a fresh scorer; seconds are those of this thread's CPU. Refuses to print a ratio
where a score differs by a single bit. With KEEP_MEMORY=1 freed memory is kept, as Ray workers do; both ways profit.
"""

import itertools
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from nas.arch import Arch
from nas.job import Job
from nas.run import Run
from nas.searching.allocator import keep_freed_memory
from nas.searching.archive import Archive
from nas.searching.scorer import SupernetScorer, enough
from nas.settings import read_settings
from nas.space import ArchSpace, SearchSpace, crossover, mutate, sample
from nas.train import evaluate

BATCH, PARENTS = 16, 12
Batches = list[list[Arch]]
HEADER = "sequence               archs  plain ms   new ms  times  [range]        reused  peak MiB"


@dataclass(frozen=True, slots=True)
class Row:
    """One repeat: CPU seconds of both ways, share of reused steps, most bytes after a batch, largest difference."""

    plain: float
    reused: float
    hits: float
    peak: int
    difference: float


def main(
    path: str, count: int = 192, repeats: int = 3, limit: int | None = None, batch_size: int | None = None
) -> None:
    torch.set_num_threads(1)
    if os.environ.get("KEEP_MEMORY"):
        keep_freed_memory()
    run = Run.at(path)
    job = Job(run, read_settings(run.read_json("run.json")["settings"]))
    cfg, data = job.settings.search, job.dataset.searchable()
    sizes = {"limit": limit or cfg.val_limit or enough(data.shape), "batch_size": batch_size or cfg.batch_size}

    def fresh() -> SupernetScorer:
        return SupernetScorer.of(job.net, job.task, data, **sizes)

    def plain(arch: Arch) -> float:
        return evaluate(job.net, arch, job.task, data.val, **sizes)

    print(f"{path}: {sizes['limit']} examples in batches of {sizes['batch_size']}, medians of {repeats} repeats")
    print(HEADER)
    for name, batches in sequences(run, cfg.name, job.net.space, count, fresh()):
        print_rows(name, sum(map(len, batches)), [measured(batches, plain, fresh()) for _ in range(repeats)])


def sequences(
    run: Run, name: str, space: SearchSpace, count: int, scorer: SupernetScorer
) -> Iterator[tuple[str, Batches]]:
    rng, log = random.Random(0), run.path / f"search/{name}/archive.jsonl"
    if log.exists():
        archive = Archive(run.log(f"search/{name}/archive.jsonl"), ArchSpace(space))
        asked = [row.point for row in archive.evaluations if row.fidelity == 1.0]
        yield "archive, as asked", batched(asked)
        half = len(asked) // 2
        yield "archive, sorted by 16", [scorer.order(batch) for batch in batched(asked)]
        yield "archive, later half", batched(asked[half:])
    yield "children, as bred", bred(space, count, rng)
    yield "children, sorted", [scorer.order(batch) for batch in bred(space, count, random.Random(0))]
    yield "random", batched([sample(space, rng) for _ in range(count)])


def bred(space: SearchSpace, count: int, rng: random.Random) -> Batches:
    """Batches of children as the surrogate strategy makes them, which replace parents at random."""
    parents, batches = [sample(space, rng) for _ in range(PARENTS)], []
    for _ in range(count // BATCH):
        batches.append([child(space, parents, rng) for _ in range(BATCH)])
        for arch in rng.sample(batches[-1], 3):
            parents[rng.randrange(PARENTS)] = arch
    return batches


def child(space: SearchSpace, parents: Sequence[Arch], rng: random.Random) -> Arch:
    arch = rng.choice(parents)
    if rng.random() < 0.5:
        arch = crossover(space, arch, rng.choice(parents), rng)
    return mutate(space, arch, rng, rate=rng.choice((0.03, 0.08, 0.2)))


def batched(archs: Sequence[Arch]) -> Batches:
    rest = iter(archs)
    return list(iter(lambda: list(itertools.islice(rest, BATCH)), []))


def measured(batches: Batches, plain: Callable[[Arch], float], scorer: SupernetScorer) -> Row:
    """Both ways over all batches, taking turns."""
    metric, seconds, differences, peak = scorer.task.metric.name, [0.0, 0.0], [], 0
    for batch in batches:
        start = time.thread_time()
        wanted = [plain(arch) for arch in batch]
        middle = time.thread_time()
        found = [scorer(arch)[metric] for arch in batch]
        seconds[0] += middle - start
        seconds[1] += time.thread_time() - middle
        peak = max(peak, scorer.desk.used)
        differences += [abs(a - b) for a, b in zip(wanted, found, strict=True)]
    desk = scorer.desk
    return Row(*seconds, desk.hits / desk.steps, peak, max(differences))


def print_rows(name: str, archs: int, rows: Sequence[Row]) -> None:
    if any(row.difference for row in rows):
        raise SystemExit(f"{name}: scores differ by up to {max(row.difference for row in rows)}: no ratio")
    plain, reused = (1e3 / archs * statistics.median(s) for s in ([r.plain for r in rows], [r.reused for r in rows]))
    times = sorted(row.plain / row.reused for row in rows)
    spread = f"[{times[0]:.2f}, {times[-1]:.2f}]"
    print(
        f"{name:<22}{archs:>6}{plain:>10.1f}{reused:>9.1f}{statistics.median(times):>7.2f}  {spread:<14}"
        f"{rows[0].hits:>7.0%}{max(row.peak for row in rows) / 2**20:>10.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
