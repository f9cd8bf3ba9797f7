"""What one operator everywhere gives: quality with inherited weights, latency, rank, sparsity and size, per operator.

python -m analysis.studies.by_operator runs/<run> [steps]

With `steps`, each network is also trained alone for that many steps with the run's recipe (seed 0).
"""

import sys
from dataclasses import replace

import torch

from nas import data, profiling, tasks
from nas.arch import NONE, Arch
from nas.run import Run
from nas.settings import read_settings
from nas.supernet import Supernet, network_cost, network_profile
from nas.train import evaluate, load_supernet
from nas.train.plan import Alone
from nas.train.recipe import plain
from nas.train.trainer import Trainer


def main(path: str, steps: int = 0) -> None:
    run = Run.at(path)
    asked = read_settings(run.read_json("run.json")["settings"])
    dataset = data.load(asked.data).searchable()
    task, net = tasks.of(dataset), load_supernet(run)
    archs = {name: net.space.largest(name) for name in net.space.operator_names() if name != NONE}
    times, _ = profiling.measure(net, list(archs.values()), asked.profile)
    print(
        f"{'operator':<18}{task.metric.name:>14}{'alone':>10}{'ms':>8}{'+-':>7}{'rank':>6}{'sparsity':>10}{'params':>9}"
    )
    for (name, arch), timing in zip(archs.items(), times, strict=True):
        inherited = evaluate(net, arch, task, dataset.val)
        alone = _alone(net, arch, task, dataset, asked, steps) if steps else float("nan")
        facts = network_profile(net.space.frame, net.shape, arch)
        params = network_cost(net.space.frame, net.shape, arch).params
        half = (timing.high_ms - timing.low_ms) / 2
        print(
            f"{name:<18}{inherited:>14.4f}{alone:>10.4f}{timing.median_ms:>8.2f}{half:>7.2f}"
            f"{facts['rank']:>6.0f}{facts['sparsity']:>10.2f}{params:>9,}",
            flush=True,
        )


def _alone(net: Supernet, arch: Arch, task, dataset, asked, steps: int) -> float:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    made = Supernet(net.space.only(arch), net.shape, sharing=net.sharing)
    config = replace(asked.train, steps=steps, recipe=plain())
    trainer = Trainer(made, task, dataset.train, Alone(arch), config, 0)
    for step in range(steps):
        trainer.step(step)
    return evaluate(made.cpu(), arch, task, dataset.val)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
