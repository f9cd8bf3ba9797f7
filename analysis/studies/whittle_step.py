"""A sandwich step of whittle's library and one of ours on an equal model, each over a step of its largest network.

    python -m analysis.studies.whittle_step ours
    python -m analysis.studies.whittle_step whittle    # in an environment of its own: its versions exclude ours

A causal language model of 256 bytes: width 32 or 64, 2 to 4 blocks of softmax attention with 1, 2 or 4 heads of 16, MLP
of ratio 1, 2 or 4; 128 tokens, batches of 16; largest, smallest and two random subnets, each on the labels alone;
clipping and AdamW in either. Steps of both kinds in turn, one thread, medians and quartiles of processor time over 40
pairs. Memory: how far a process of its own grows in twenty steps once the model is built.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS, DEPTHS, HEADS, RATIOS = (32, 64), (2, 3, 4), (1, 2, 4), (1, 2, 4)
VOCAB, TOKENS, BATCH, HEAD_DIM = 256, 128, 16, 16
WARM, PAIRS, STEPS = 3, 40, 20
KINDS = ("supernet", "largest")
Step = Callable[[int], object]


def ours(kind: str) -> Step:
    """The project's trainer, with neither anchors nor distillation."""
    from nas import tasks
    from nas.data import DataConfig, load
    from nas.space import load_space
    from nas.supernet import Supernet
    from nas.train import TrainConfig, supernet_trainer
    from nas.train.plan import Alone
    from nas.train.recipe import RecipeConfig, plain
    from nas.train.trainer import Trainer

    block = {"num_heads": [*HEADS], "num_kv_heads": [*HEADS], "head_dim": [HEAD_DIM], "operators": {"softmax": {}}}
    block |= {"ffn": {"mlp": [*RATIOS]}, "gate": ["none"]}
    stage = {"embed_dim": [*WIDTHS], "depth": [*DEPTHS], "block": block}
    space = load_space({"name": "whittle", "domain": "causal", "stem": {"conv": 0}, "stages": [stage]})
    dataset = load(DataConfig(name="text", seq_len=TOKENS, val_size=100)).searchable()
    sandwich = RecipeConfig(teacher="largest", depth_draws=1, smallest_every=1)
    recipe = replace(sandwich, anchor="none", randoms=2, distill_weight=0.0)
    if kind == "supernet":
        return supernet_trainer(space, dataset, TrainConfig(steps=10**6, batch_size=BATCH, recipe=recipe), seed=0).step
    arch = space.largest()
    alone = TrainConfig(steps=10**6, batch_size=BATCH, recipe=plain())
    net = Supernet(space.only(arch), dataset.shape)
    return Trainer(net, tasks.of(dataset), dataset.train, Alone(arch), alone, 0).step


def whittle(kind: str) -> Step:
    """whittle's GPT with its sandwich strategy, or with plain steps of the whole."""
    from litgpt import Config
    from syne_tune.config_space import choice
    from whittle.models.gpt import GPT
    from whittle.sampling.random_sampler import RandomSampler
    from whittle.search.search_spaces import HWGPTBench
    from whittle.training_strategies import SandwichStrategy, StandardStrategy

    shape = {"n_layer": max(DEPTHS), "n_embd": max(WIDTHS), "n_head": max(HEADS), "head_size": HEAD_DIM}
    wide = {"intermediate_size": max(RATIOS) * max(WIDTHS), "vocab_size": VOCAB, "padded_vocab_size": VOCAB}
    net = GPT(Config(block_size=TOKENS, norm_class_name="LayerNorm", bias=True, **shape, **wide))
    net.max_seq_length = TOKENS
    space = HWGPTBench(net.config)
    axes = {"embed_dim": WIDTHS, "num_heads": HEADS, "mlp_ratio": RATIOS, "depth": DEPTHS}
    space.config_space = {name: choice(list(values)) for name, values in axes.items()}
    known: dict[str, Any] = {"sampler": RandomSampler(space, seed=0), "loss_function": _loss, "device": "cpu"}
    strategy = SandwichStrategy(random_samples=2, **known) if kind == "supernet" else StandardStrategy(**known)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    text = torch.randint(VOCAB, (BATCH, TOKENS + 1))

    def step(_: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        strategy(net, text[:, :-1], text[:, 1:])
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()

    return step


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


SIDES: dict[str, Callable[[str], Step]] = {"ours": ours, "whittle": whittle}


def main(side: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    supernet, largest = (SIDES[side](kind) for kind in KINDS)
    times = [(spent(supernet, step), spent(largest, step)) for step in range(WARM + PAIRS)][WARM:]
    low, middle, high = statistics.quantiles([one / other for one, other in times], n=4)
    mean = statistics.fmean(one for one, _ in times) / statistics.fmean(other for _, other in times)
    print(f"{side}: torch {torch.__version__}, {PAIRS} pairs")
    print(f"largest alone   {statistics.median(other for _, other in times):7.1f} ms")
    print(f"supernet        {statistics.median(one for one, _ in times):7.1f} ms")
    print(f"ratio           {middle:.2f} [{low:.2f}, {high:.2f}], of the means {mean:.2f}")
    grown = {kind: measured(side, kind) for kind in KINDS}
    print("memory          " + ", ".join(f"{kind} {peak:.0f} MiB" for kind, peak in grown.items()), end="")
    print(f", ratio {grown['supernet'] / grown['largest']:.2f}")


def spent(step: Step, number: int) -> float:
    """Milliseconds of this thread."""
    start = time.thread_time()
    step(number)
    return 1e3 * (time.thread_time() - start)


def measured(side: str, kind: str) -> float:
    """MiB by which a process of its own grows."""
    command = [sys.executable, "-m", "analysis.studies.whittle_step", side, kind]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory(side: str, kind: str) -> None:
    """Prints how far this process grows once the model is built."""
    torch.set_num_threads(1)
    step = SIDES[side](kind)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = peak_mib()
    for number in range(STEPS):
        step(number)
    print(peak_mib() - before)


def peak_mib() -> float:
    """Most resident memory of this process, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in SIDES:
        raise SystemExit(f"one of {', '.join(SIDES)}; got {' '.join(sys.argv[1:]) or 'nothing'}")
    main(sys.argv[1]) if len(sys.argv) == 2 else memory(*sys.argv[1:])
