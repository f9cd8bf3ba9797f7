"""Search strategies side by side on a run's trained supernet: hypervolume after as many evaluations, over seeds.

python -m analysis.studies.strategies runs/<run> [seeds] [evaluations]

Every arch is scored once and remembered, so that all strategies and seeds see the same values; the box of the
hypervolume spans everything that was scored. The first design of 24 archs is the same for all strategies of a seed.
"""

import statistics
import sys
import tempfile

import torch

from nas.arch import Arch
from nas.job import Job
from nas.run import Run
from nas.searching import Archive, SerialExecutor, hypervolume_curve, search, strategies, supernet_problem
from nas.searching.objectives import Values
from nas.searching.scorer import SupernetScorer
from nas.settings import read_settings


def main(path: str, seeds: int = 3, budget: int = 100) -> None:
    torch.set_num_threads(1)
    run = Run.at(path)
    job = Job(run, read_settings(run.read_json("run.json")["settings"]))
    cfg, net, task = job.settings.search, job.net, job.task
    problem = supernet_problem(
        net, task, lambda archs: job.predictor.predict(archs).tolist(), cfg, job.settings.constraints
    )
    scorer = SupernetScorer.of(net, task, job.dataset.searchable(), batch_size=cfg.batch_size, limit=cfg.val_limit)
    known: dict[str, Values] = {}

    def score(arch: Arch) -> Values:
        if arch.digest not in known:
            known[arch.digest] = scorer(arch)
        return known[arch.digest]

    found = {}
    for name in strategies.names():
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                strategy = strategies.get(name)(problem, seed=seed, first=cfg.first, batch=cfg.batch)
                archive = Archive(Run.at(folder).log("archive.jsonl"), net.space)
                found[name, seed] = search(problem, strategy, SerialExecutor(score), archive, budget=budget, label=name)
    everything = [row for rows in found.values() for row in rows]
    marks = sorted({cfg.first, budget // 2, budget})
    print(f"hypervolume (share of the box), mean of {seeds} seeds [lowest, highest], {len(known)} archs scored once")
    print(f"{'strategy':<12}" + "".join(f"{f'after {mark}':>24}" for mark in marks))
    for name in strategies.names():
        curves = [hypervolume_curve(problem, found[name, seed], everything) for seed in range(seeds)]
        cells = [[curve[mark - 1] for curve in curves] for mark in marks]
        print(f"{name:<12}" + "".join(f"{statistics.mean(c):>10.3f} [{min(c):.3f}, {max(c):.3f}]" for c in cells))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]))
