"""The training loop: step after step, logged and saved, with exact resume after a kill."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from nas.progress import track
from nas.run import Run
from nas.train.checkpoint import load_state, save_state
from nas.train.trainer import Trainer


def fit(
    trainer: Trainer,
    run: Run,
    name: str,
    *,
    until: int | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Trains to the end, or to the step `until`, from where an earlier call or an interrupted training stopped.

    State in `<name>/state.pt`, log beside it; of several processes the leader writes, and all read.
    """
    steps, log = until or trainer.config.steps, run.log(f"{name}/log.jsonl")
    state = load_state(run, f"{name}/state.pt")
    if state is not None:
        trainer.load(state)
    first = 0 if state is None else int(state["step"])
    trainer.net.train()
    saved, label = time.monotonic(), "train" if name == "supernet" else "retrain"
    with cpu_threads(trainer.config.threads), track(label, steps, "steps") as progress:
        progress.resume(first)
        for step in range(first, steps):
            figures = trainer.step(step)
            progress.advance(1, short(figures))
            if not trainer.team.leads:
                continue
            if step % trainer.config.log_every == 0 or step == steps - 1:
                row = {"step": step, **figures}
                log.append(row)
                if on_log is not None:
                    on_log(row)
            if time.monotonic() - saved > trainer.config.save_every_s or step == steps - 1:
                save_state(run, f"{name}/state.pt", {**trainer.state(), "step": step + 1})
                saved = time.monotonic()
    if steps == trainer.config.steps:
        trainer.settle()
    trainer.net.eval()


def short(figures: Mapping[str, float]) -> str:
    """A step's first loss for people: the largest arch's, or that of private parts while they are matched."""
    name = "loss.largest" if "loss.largest" in figures else next(name for name in figures if name != "step")
    return f"{name.partition('.')[0]} {figures[name]:.3f}"


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Torch's CPU thread count for a while; 0 leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
