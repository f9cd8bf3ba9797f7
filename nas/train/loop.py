"""The training loop: one optimiser, the archs of a plan each step, exact resume after a kill."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.arch import Arch
from nas.config import config
from nas.data.contract import Examples
from nas.progress import track
from nas.run import Run
from nas.supernet import Share, Supernet
from nas.tasks.contract import Task
from nas.train import distill
from nas.train.batches import batch_index, hash_seed
from nas.train.checkpoint import load_state, save_state

Plan = Callable[[int], dict[Arch, str]]
"""Step -> its archs with their roles, the teacher first."""
Part = Annotated[float, Field(ge=0.0, le=1.0)]


@config
class TrainConfig:
    """How long and how a network is trained. Shares are of the whole run."""

    steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: float = 0.05
    warmup: Part = 0.05
    clip: Annotated[float, Field(gt=0)] = 1.0
    randoms: Annotated[int, Field(ge=0)] = 1
    largest_weight: Part = 0.5
    """Share of the largest subnet, the teacher, in a step's loss; the others divide the rest."""
    share: Share = "all"
    distill_start: Part = 0.3
    distill_weight: Part = 0.5
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    threads: int = 0
    """CPU threads; 0 is all of them."""
    log_every: Annotated[int, Field(ge=1)] = 20
    save_every_s: float = 30.0


@dataclass
class Trainer:
    """The moving parts of one training, advanced by `step`."""

    net: Supernet
    task: Task
    data: Examples
    plan: Plan
    config: TrainConfig
    seed: int
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(self.config.device)
        self.net.to(self.device).train()
        self.optimiser = _optimiser(self.net, self.config)

    def step(self, step: int) -> dict[str, float]:
        """One update on the step's batch and archs; the loss of every role, and its agreement with the teacher."""
        cfg = self.config
        inputs, targets = self._batch(step)
        for group in self.optimiser.param_groups:
            group["lr"] = cfg.lr * distill.cosine_lr(step, cfg.steps, warmup=cfg.warmup)
        weight = distill.distill_weight(step, cfg.steps, start=cfg.distill_start, weight=cfg.distill_weight)
        figures: dict[str, float] = {}
        teacher: Tensor | None = None
        self.optimiser.zero_grad(set_to_none=True)
        archs = self.plan(step)
        for arch, role in archs.items():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=cfg.precision == "bf16"):
                logits, penalty = self.net.run(inputs, arch)
            rows, wanted = self.task.flatten(logits, targets)
            loss = distill.distilled(rows, wanted, teacher, weight) + penalty
            (loss * self._weight(role, len(archs))).backward()  # type: ignore[no-untyped-call]
            figures[f"loss.{role}"] = float(loss.detach())
            if teacher is None:
                teacher = rows.detach()
            else:
                figures[f"agreement.{role}"] = distill.agreement(rows, teacher)
        figures["grad_norm"] = float(nn.utils.clip_grad_norm_(self.net.parameters(), cfg.clip))
        self.optimiser.step()
        return figures

    def _weight(self, role: str, count: int) -> float:
        if count == 1:
            return 1.0
        share = self.config.largest_weight
        return share if role == "largest" else (1 - share) / (count - 1)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        index = batch_index(len(self.data), self.config.batch_size, self.seed, step)
        inputs, targets = self.task.prepare(self.data, index, self.device)
        generator = torch.Generator().manual_seed(hash_seed(self.seed, -1 - step))
        return self.task.augment(inputs, generator), targets


def fit(
    trainer: Trainer,
    run: Run,
    name: str,
    *,
    until: int | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Trains to the end, or to the step `until`, from where an earlier call or an interrupted training stopped.

    State in `<name>/state.pt`, log beside it.
    """
    steps, log = until or trainer.config.steps, run.log(f"{name}/log.jsonl")
    first = _restore(trainer, run, name)
    trainer.net.train()
    saved = time.monotonic()
    with cpu_threads(trainer.config.threads), track("train" if name == "supernet" else "retrain", steps) as progress:
        progress.set(first)
        for step in range(first, steps):
            figures = trainer.step(step)
            progress.advance(1, f"loss {figures['loss.largest']:.3f}")
            if step % trainer.config.log_every == 0 or step == steps - 1:
                row = {"step": step, **figures}
                log.append(row)
                if on_log is not None:
                    on_log(row)
            if time.monotonic() - saved > trainer.config.save_every_s or step == steps - 1:
                _save(trainer, run, name, step + 1)
                saved = time.monotonic()
    trainer.net.eval()


def _optimiser(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=cfg.lr, betas=(0.9, 0.98))


def _restore(trainer: Trainer, run: Run, name: str) -> int:
    state = load_state(run, f"{name}/state.pt")
    if state is None:
        return 0
    trainer.net.load_state_dict(state["net"])
    trainer.optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _save(trainer: Trainer, run: Run, name: str, step: int) -> None:
    state = {"net": trainer.net.state_dict(), "optimiser": trainer.optimiser.state_dict(), "step": step}
    save_state(run, f"{name}/state.pt", state)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Torch's CPU thread count for a while; 0 leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
