"""What a supernet's step costs beside a step of its largest architecture alone: processor time and memory.

python -m analysis.studies.step_cost vision|language [train.recipe.setting=value …]

Time: steps of both in turn, one thread, median and quartiles of the ratio of their processor times. Memory: the most
that tensors hold in twenty steps, weights and the optimiser's moments among them; beside it how far a process grows
that does these steps, with what its allocator keeps. Also of the largest network of each operator family, since some
need more for a batch than the largest architecture's first operator.
"""

import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from analysis.studies.settings import composed
from nas import data
from nas.config import load
from nas.settings import Settings
from nas.space import load_space
from nas.supernet import Supernet
from nas.tasks import of
from nas.train import TrainConfig, supernet_trainer
from nas.train.plan import Alone
from nas.train.recipe import plain
from nas.train.trainer import Trainer

STEPS, WARM, PAIRS = 20, 3, 40
KINDS = ("supernet", "largest")


def main(task: str, *overrides: str) -> None:
    settings = composed(f"experiment=rank_{task}", *overrides)
    supernet, largest = (trainer(settings, kind) for kind in KINDS)
    times = [(spent(supernet, step), spent(largest, step)) for step in range(WARM + PAIRS)][WARM:]
    ratios = [one / other for one, other in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    mean = statistics.fmean(one for one, _ in times) / statistics.fmean(other for _, other in times)
    subnets = statistics.fmean(len(supernet.plan(step)) for step in range(WARM + PAIRS))
    print(f"{task}: {subnets:.1f} subnets a step, batch {settings.train.batch_size}, {PAIRS} pairs")
    print(f"largest alone   {statistics.median(other for _, other in times):7.1f} ms")
    print(f"supernet        {statistics.median(one for one, _ in times):7.1f} ms")
    print(f"ratio           {middle:.2f} [{low:.2f}, {high:.2f}], of the means {mean:.2f}")
    families = load_space(settings.space).anchors()
    for what in ("tensors", "process"):
        peaks = {kind: measured(what, task, kind, overrides) for kind in (*KINDS, *families)}
        print(f"{what:<16}" + ", ".join(f"{kind} {peak:.0f} MiB" for kind, peak in peaks.items()))
        hungriest = max(families, key=peaks.__getitem__)
        print(f"ratio           {peaks['supernet'] / peaks['largest']:.2f} to the largest", end="")
        print(f", {peaks['supernet'] / peaks[hungriest]:.2f} to the largest of {hungriest}")


def trainer(settings: Settings, kind: str) -> Trainer:
    """Of the supernet, of its largest architecture alone, or of the largest of an operator family."""
    torch.set_num_threads(1)
    config = settings.train
    dataset, space = data.load(settings.data).searchable(), load_space(settings.space)
    if kind == "supernet":
        return supernet_trainer(space, dataset, config, seed=0)
    arch = space.largest() if kind == "largest" else space.anchors()[kind]
    net = Supernet(space.only(arch), dataset.shape)
    alone = load(TrainConfig, {"batch_size": config.batch_size, "lr": config.lr, "recipe": plain()})
    return Trainer(net, of(dataset), dataset.train, Alone(arch), alone, 0)


def spent(one: Trainer, step: int) -> float:
    """Milliseconds of this thread."""
    start = time.thread_time()
    one.step(step)
    return 1e3 * (time.thread_time() - start)


def measured(what: str, task: str, kind: str, overrides: tuple[str, ...]) -> float:
    """MiB of a process of its own."""
    command = [sys.executable, "-m", "analysis.studies.step_cost", f"--{what}", task, kind, *overrides]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def process(task: str, kind: str, *overrides: str) -> None:
    """Prints how far the process grew."""
    settings = composed(f"experiment=rank_{task}", *overrides)
    data.load(settings.data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = peak_mib()
    one = trainer(settings, kind)
    for step in range(STEPS):
        one.step(step)
    print(peak_mib() - before)


def tensors(task: str, kind: str, *overrides: str) -> None:
    """Prints the most that tensors held at once."""
    one = trainer(composed(f"experiment=rank_{task}", *overrides), kind)
    for step in range(WARM):
        one.step(step)
    # a step ends with its gradients, and the next one begins without them
    lasting = 3 * sum(parameter.nbytes for parameter in one.net.parameters())
    print((lasting + max(transient(one, step) for step in range(WARM, WARM + STEPS))) / 2**20)


def transient(one: Trainer, step: int) -> int:
    """Most bytes of what a step allocated and had not freed."""
    one.optimiser.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        one.step(step)
    held = most = 0
    events = (event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def peak_mib() -> float:
    """Most resident memory of this process, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    {"--process": process, "--tensors": tensors}.get(first, partial(main, first))(*rest)
