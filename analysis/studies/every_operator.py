"""How good is each operator alone? Uniform networks of every operator there is, trained alone with one budget.

    python -m analysis.studies.every_operator FOLDER [--task vision language recall] [--seeds 0 1] [--steps 500]
        [--operators NAME …]

Width 64, 4 heads of 16, four blocks (recall: two) with an MLP of ratio 2; batch and learning rate as in TASKS.
Each operator has the suggested knobs whose sparsity is nearest to a half, or the first that fit. An operator that reads
from an earlier block has its source in every other block. Finished trainings are kept in FOLDER and not done again;
the table has the mean over seeds with their standard deviation, parameters, the time of the mixer over softmax's at the
task's length, and the fastest operator that is at least as good and faster.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas import data, operators, tasks
from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.catalogue.beside import beside_softmax, source, space_of
from nas.catalogue.cards import Card, Shape, cards, figures, varied
from nas.data import DataConfig, Dataset
from nas.errors import NasError
from nas.journal import Log
from nas.operators.contract import Site
from nas.supernet import Supernet, network_cost
from nas.supernet.layout import sites
from nas.train import RetrainConfig, TrainConfig, evaluate
from nas.train.standalone import standalone

WIDTH, HEADS, HEAD_DIM, RATIO = 64, 4, 16, 2.0
SHAPE = Shape(width=WIDTH, heads=HEADS, head_dim=HEAD_DIM)


@dataclass(frozen=True, slots=True)
class Task:
    """Where the networks are trained, how deep they are, and the stem before them."""

    data: DataConfig
    depth: int
    stem: dict[str, int]
    batch_size: int
    lr: float


TASKS = {
    "vision": Task(DataConfig(name="fashion_mnist"), 4, {"patch": 4}, 32, 3e-3),
    "language": Task(DataConfig(name="text", seq_len=128, val_share=0.05, val_size=500), 4, {"conv": 0}, 16, 5e-3),
    "recall": Task(DataConfig(name="recall", seq_len=48, val_share=0.05, vocab=128, pairs=4), 2, {"conv": 3}, 64, 6e-3),
}


@dataclass(frozen=True)
class Bench:
    """One task, loaded, and every operator that is legal on it."""

    name: str
    task: Task
    data: Dataset
    only: tuple[str, ...] = ()
    """Operators to confine oneself to; empty: all."""

    @classmethod
    def of(cls, name: str, only: Sequence[str] = ()) -> "Bench":
        """The task of that name with its data."""
        return cls(name, TASKS[name], data.load(TASKS[name].data).searchable(), tuple(only))

    def chosen(self) -> Iterator[tuple[Card, OperatorArch]]:
        """Every legal operator with its knobs."""
        for card in cards():
            if self.only and card.name not in self.only:
                continue
            if self.data.shape.domain in card.domains and (arch := _middling(card, self.site)) is not None:
                yield card, arch

    @property
    def site(self) -> Site:
        """Where the mixers sit."""
        softmax = OperatorArch.of("softmax", num_heads=HEADS, num_kv_heads=HEADS, head_dim=HEAD_DIM)
        blank = Site(embed_dim=WIDTH, tokens=1, domain=self.data.shape.domain)
        space = space_of(softmax, blank, depth=self.task.depth, stem=self.task.stem)
        return replace(sites(space.frame, self.data.shape)[0], embed_dim=WIDTH)

    def network(self, operator: OperatorArch) -> tuple[Supernet, Arch]:
        """The network of this operator everywhere, behind its source where it has one."""
        space = space_of(operator, self.site, depth=self.task.depth, stem=self.task.stem, ratio=RATIO)
        own, first = BlockArch(operator, FfnArch("mlp", RATIO)), self._source(operator)
        blocks = tuple(first if first and i % 2 == 0 else own for i in range(self.task.depth))
        arch = Arch((StageArch(WIDTH, blocks),))
        return Supernet(space.only(arch), self.data.shape), arch

    def _source(self, operator: OperatorArch) -> BlockArch | None:
        reads = operators.get(operator.name).consumes
        return BlockArch(source(operator), FfnArch("mlp", RATIO)) if reads else None


def train(bench: Bench, operator: OperatorArch, seed: int, steps: int) -> dict[str, float]:
    """Val score and parameters of the network after `steps`."""
    torch.manual_seed(seed)
    net, arch = bench.network(operator)
    asked = TrainConfig(steps=steps, batch_size=bench.task.batch_size, lr=bench.task.lr, threads=1)
    trainer = standalone(net, arch, bench.data, RetrainConfig(start="scratch"), asked, seed=seed)
    for step in range(steps):
        trainer.step(step)
    trainer.net.eval()
    score = evaluate(trainer.net, arch, tasks.of(bench.data), bench.data.val)
    return {"value": score, "params": network_cost(net.space.frame, bench.data.shape, arch).params}


def run(bench: Bench, log: Log, seeds: Sequence[int], steps: int) -> None:
    """Every training that is not in the log yet."""
    known = {(row["task"], row["operator"], row["knobs"], row["seed"], row["steps"]) for row in log.rows()}
    for seed in seeds:
        for card, operator in bench.chosen():
            key = {"task": bench.name, "operator": card.name, "knobs": _knobs(operator), "seed": seed, "steps": steps}
            if tuple(key.values()) in known:
                continue
            try:
                log.append({**key, "family": card.family, **train(bench, operator, seed, steps)})
            except (NasError, RuntimeError) as error:
                print(f"left out {card.name}: {error}", flush=True)


def table(bench: Bench, rows: Sequence[dict[str, object]], steps: int) -> str:
    """Best first."""
    metric = tasks.of(bench.data).metric
    times = {t.arch.name: t.over_softmax for t in _times(bench)}
    found: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        if (row["task"], row["steps"]) == (bench.name, steps):
            found.setdefault(str(row["operator"]), []).append(row)
    values = {name: [float(str(row["value"])) for row in same] for name, same in found.items()}
    ordered = sorted(found, key=lambda name: statistics.mean(values[name]), reverse=metric.direction == "maximise")
    lines = [f"\n{bench.name}: {metric.name} on val after {steps} steps, {bench.site.tokens} tokens"]
    lines += ["| operator | knobs | family | mean | ± | seeds | params | time over softmax | beaten by |"]
    lines += ["|---" * 9 + "|"]
    for i, name in enumerate(ordered):
        row, scores = found[name][0], values[name]
        spread = f"{statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
        ratio = f"{times[name]:.2f}" if name in times else ""
        faster = [other for other in ordered[:i] if times.get(other, math.inf) < times.get(name, 0.0)]
        lines.append(
            f"| {name} | {row['knobs']} | {row['family']} | {statistics.mean(scores):.3f} | {spread} | {len(scores)} "
            f"| {row['params']:,} | {ratio} | {min(faster, key=times.__getitem__, default='')} |"
        )
    return "\n".join(lines)


def _times(bench: Bench) -> Iterator:  # type: ignore[type-arg]
    for card, operator in bench.chosen():
        try:
            yield from beside_softmax([operator], bench.site, HEADS, HEAD_DIM)
        except NasError as error:
            print(f"not timed {card.name}: {error}", flush=True)


def _middling(card: Card, site: Site) -> OperatorArch | None:
    able = []
    for arch in varied(card, SHAPE):
        try:
            able.append(figures(arch, site))
        except NasError:
            continue
    sparse = [one for one in able if 0 < one.sparsity < 1]
    if sparse:
        return min(sparse, key=lambda one: abs(one.sparsity - 0.5)).arch
    return able[0].arch if able else None


def _knobs(operator: OperatorArch) -> str:
    heads = ("num_heads", "num_kv_heads", "head_dim")
    return json.dumps({knob: value for knob, value in operator.knobs if knob not in heads})[1:-1].replace('"', "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--operators", nargs="+", default=[], choices=[card.name for card in cards()])
    parser.add_argument("--table-only", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    log = Log(asked.folder / "every_operator.jsonl")
    for name in asked.task:
        bench = Bench.of(name, asked.operators)
        if not asked.table_only:
            run(bench, log, asked.seeds, asked.steps)
        print(table(bench, log.rows(), asked.steps), flush=True)


if __name__ == "__main__":
    main()
