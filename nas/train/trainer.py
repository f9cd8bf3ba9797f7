"""One step of training: the archs of a plan, their losses, one update of the shared weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.contract import Examples
from nas.supernet import Supernet
from nas.tasks.contract import Task
from nas.train import distill, gradients
from nas.train.average import Average
from nas.train.batches import batch_index, hash_seed
from nas.train.config import TrainConfig
from nas.train.matching import match
from nas.train.order import reorder
from nas.train.team import ALONE, Team

Plan = Callable[[int], dict[Arch, str]]
"""Step -> its archs with their roles, the teacher first."""
Teacher = Callable[[Tensor], Tensor]
"""Prepared inputs -> logits of a network that is not trained."""
Figures = dict[str, float]


@dataclass
class Trainer:
    """The moving parts of one training, advanced by `step`."""

    net: Supernet
    task: Task
    data: Examples
    plan: Plan
    config: TrainConfig
    seed: int
    teacher: Teacher | None = None
    team: Team = ALONE
    optimiser: torch.optim.Optimizer = field(init=False)
    average: Average | None = field(init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(self.config.device)
        self.net.to(self.device).train()
        self.optimiser = _optimiser(self.net, self.config)
        self.average = self._averaged()
        self._parameters = list(self.net.parameters())

    def step(self, step: int) -> Figures:
        """One update on the step's batch and archs; the loss of every role, and its agreement with the teacher."""
        cfg, recipe = self.config, self.config.recipe
        phase = recipe.phase(step, cfg.steps)
        if recipe.ordered and step == recipe.alone_until(cfg.steps):
            reorder(self.net, self.optimiser)
            self.average = self._averaged()  # what it held was in the old order
        for group in self.optimiser.param_groups:
            group["lr"] = cfg.lr * distill.cosine_lr(step, cfg.steps, warmup=cfg.warmup)
        self.optimiser.zero_grad(set_to_none=True)
        inputs, targets = self._batch(step)
        figures = self._matched(inputs) if phase == "matching" else self._sandwich(step, inputs, targets)
        figures = self.team.mean(figures)
        figures["grad_norm"] = float(nn.utils.clip_grad_norm_(self._parameters, cfg.clip))
        self.optimiser.step()
        if self.average is not None:
            self.average.update(self.net)
        return figures

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on."""
        average = {} if self.average is None else {"average": self.average.state()}
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict(), **average}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a kept state."""
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load(state["average"])

    def settle(self) -> None:
        """The weights as they are to be used, which with a running average are not the last ones."""
        if self.average is not None:
            self.average.into(self.net)
        self.net.eval()

    def _sandwich(self, step: int, inputs: Tensor, targets: Tensor) -> Figures:
        """The largest arch learns from the labels, or the teacher from outside, and the others from it."""
        steps, (largest, *others) = self.config.steps, self.plan(step).items()
        soft = self.config.recipe.soft(step, steps)
        taught = self._taught(inputs) if self.teacher is not None and soft else None
        logits, figures = self._learn(*largest, inputs, targets, taught, soft, 1 + len(others))
        taught = logits if taught is None else taught
        kept: gradients.Gradients | None = None
        if others and self.config.recipe.projects(step, steps):
            self._exchange()
            kept = gradients.take(self._parameters)
        seen = max(1, round(self.config.recipe.student_batch * len(inputs)))
        for arch, role in others:
            _, own = self._learn(arch, role, inputs[:seen], targets[:seen], taught[:seen], soft, 1 + len(others))
            figures |= own
        self._exchange()
        if kept is not None:
            figures["cosine"] = gradients.project(self._parameters, kept)
        return figures

    def _learn(
        self, arch: Arch, role: str, inputs: Tensor, targets: Tensor, taught: Tensor | None, soft: float, count: int
    ) -> tuple[Tensor, Figures]:
        """Adds the gradients of one arch among `count`; its logits, and loss and agreement under its role."""
        logits, penalty = self._run(inputs, arch)
        rows, wanted = self.task.flatten(logits, targets)
        teacher = None if taught is None else self.task.flatten(taught, targets)[0]
        loss = distill.distilled(rows, wanted, teacher, soft, self.config.recipe.distill) + penalty
        (loss * self._weight(role, count)).backward()  # type: ignore[no-untyped-call]
        figures = {f"loss.{role}": float(loss.detach())}
        if teacher is not None:
            figures[f"agreement.{role}"] = distill.agreement(rows, teacher)
        return logits.detach(), figures

    def _matched(self, inputs: Tensor) -> Figures:
        figures = match(self.net, inputs)
        self._exchange()
        return figures

    def _exchange(self) -> None:
        """Gradients become the mean over all processes."""
        self.team.average([p.grad for p in self._parameters if p.grad is not None])

    def _run(self, inputs: Tensor, arch: Arch) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self.net.run(inputs, arch)

    def _averaged(self) -> Average | None:
        return Average(self.net, self.config.recipe.ema) if self.config.recipe.ema else None

    def _taught(self, inputs: Tensor) -> Tensor:
        assert self.teacher is not None
        with torch.no_grad():
            return self.teacher(inputs)

    def _weight(self, role: str, count: int) -> float:
        if count == 1:
            return 1.0
        share = self.config.recipe.largest_weight
        return share if role == "largest" else (1 - share) / (count - 1)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of the step's batch."""
        index = batch_index(len(self.data), self.config.batch_size, self.seed, step)
        inputs, targets = self.task.prepare(self.data, index, self.device)
        if self.config.augments(step, len(self.data)):
            inputs = self.task.augment(inputs, torch.Generator().manual_seed(hash_seed(self.seed, -1 - step)))
        return self.team.part(inputs), self.team.part(targets)


def _optimiser(net: nn.Module, cfg: TrainConfig) -> torch.optim.Optimizer:
    matrices = [p for p in net.parameters() if p.ndim >= 2]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=cfg.lr, betas=(0.9, 0.98), fused=True)
