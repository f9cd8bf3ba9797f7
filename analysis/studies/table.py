"""Scores every arch of a run's small space once, for comparing strategies on recorded evaluations.

nas train search_spaces=lm_table run.dir=runs/lm_table train.steps=800, then profile and fit, then
python -m analysis.studies.table runs/lm_table analysis/tables/lm.json.gz

Quality is that of inherited weights on the examples of a search, latency the fitted predictor's.
"""

import gzip
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.arch import Arch
from nas.job import Job
from nas.progress import track
from nas.run import Run
from nas.searching import Problem, supernet_problem
from nas.searching.objectives import Objective, Values
from nas.searching.problem import nothing
from nas.searching.scorer import SupernetScorer, enough
from nas.settings import read_settings
from nas.space import ArchSpace, ListedSpace, load_space


def main(path: str, out: str) -> None:
    torch.set_num_threads(1)
    run = Run.at(path)
    job = Job(run, read_settings(run.read_json("run.json")["settings"]))
    cfg, net, task = job.settings.search, job.net, job.task
    problem = supernet_problem(
        net, task, lambda archs: job.predictor.predict(archs).tolist(), cfg, job.settings.constraints
    )
    limit = cfg.val_limit or enough(job.dataset.shape)
    scorer = SupernetScorer.of(net, task, job.dataset.searchable(), batch_size=cfg.batch_size, limit=limit)
    archs = scorer.order(list(ArchSpace(net.space).every()))
    start = time.thread_time()
    with track("table", len(archs)) as tracker:
        rows = []
        for arch, known in zip(archs, problem.cheap(archs), strict=True):
            rows.append({"arch": arch.to_dict(), "values": {**known, **scorer(arch)}})
            tracker.advance()
    content = {
        "space": job.settings.space,
        "directions": {o.name: o.direction for o in problem.objectives},
        "examples": limit,
        "rows": rows,
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    print(f"{len(rows)} archs in {time.thread_time() - start:.0f} CPU s, {out}")


@dataclass(frozen=True)
class Table:
    """A problem all of whose points are known."""

    problem: Problem
    values: dict[Any, Values]

    @classmethod
    def read(cls, path: str, *, costs_known: bool = False) -> "Table":
        """The recorded table; with `costs_known` only the quality takes an evaluation, as in `nas search`."""
        content = json.loads(gzip.decompress(Path(path).read_bytes()))
        values = {Arch.from_dict(row["arch"]): row["values"] for row in content["rows"]}
        quality, *costs = content["directions"]
        objectives = tuple(Objective(name, direction) for name, direction in content["directions"].items())
        space = ListedSpace(ArchSpace(load_space(content["space"])), list(values))

        def known(archs: Any) -> list[Values]:
            return [{name: values[arch][name] for name in costs} for arch in archs]

        return cls(Problem(space, objectives, (), known if costs_known else nothing), values)


if __name__ == "__main__":
    main(*sys.argv[1:3])
