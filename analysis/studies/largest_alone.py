"""How far is a supernet's largest subnet from the same network trained alone, with the same steps and recipe?

python -m analysis.studies.largest_alone runs/<run> [seeds]
"""

import sys
import time

import torch

from nas import data, tasks
from nas.run import Run
from nas.settings import read_settings
from nas.supernet import Supernet
from nas.train import evaluate, load_supernet
from nas.train.loop import fit
from nas.train.plan import Alone
from nas.train.trainer import Trainer


def main(path: str, seeds: int = 1) -> None:
    run = Run.at(path)
    asked = read_settings(run.read_json("run.json")["settings"])
    dataset = data.load(asked.data).searchable()
    task, net = tasks.of(dataset), load_supernet(run)
    arch = net.space.largest()
    inherited = evaluate(net, arch, task, dataset.val)
    print(
        f"{task.metric.name} of the largest subnet on val, {asked.train.steps} steps each, device {asked.train.device}"
    )
    print(f"{'in the supernet':<24}{inherited:.4f}")
    for seed in range(seeds):
        torch.manual_seed(seed)
        alone = Supernet(net.space.only(arch), net.shape, sharing=net.sharing)
        start = time.perf_counter()
        fit(Trainer(alone, task, dataset.train, Alone(arch), asked.train, seed), run, f"studies/largest_alone/{seed}")
        value = evaluate(alone.cpu(), arch, task, dataset.val)
        print(f"{f'alone, seed {seed}':<24}{value:.4f}  ({time.perf_counter() - start:.0f} s)", flush=True)
        run.record({f"study.largest_alone.{seed}": value, "study.largest_alone.inherited": inherited})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
