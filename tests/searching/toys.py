"""Scorers that cost nothing, as classes so that they reach Ray workers."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nas.arch import NONE, Arch, BlockArch, Knob
from nas.searching.executor import Scored, Task, score


def chance(*parts: object) -> float:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def is_slow(arch: Arch) -> bool:
    return int(arch.digest, 16) % 10 == 0


def block_quality(i: int, block: BlockArch) -> float:
    mixing = 0.0 if block.operator.name == NONE else 1.0 + 0.5 * chance(i, block.operator.knobs)
    return (0.5 + chance("weight", i)) * (mixing + 0.4 * block.ffn.ratio**0.5)


@dataclass(frozen=True)
class Toy:
    """A saturating sum over blocks, part of it decided by knobs that cost does not tell."""

    def __call__(self, arch: Arch) -> dict[str, float]:
        blocks = sum(block_quality(i, block) for i, block in enumerate(arch.blocks))
        pairs = zip(arch.blocks, arch.blocks[1:], strict=False)
        blocks += sum(0.6 * chance(a.operator.name, b.ffn.kind) for a, b in pairs)
        return {"accuracy": float(1 - np.exp(-(blocks + arch.stages[0].embed_dim / 24) / 4))}


@dataclass
class Counting:
    """Counts archs it is asked for."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, arch: Arch) -> dict[str, float]:
        self.asked.append(arch.digest)
        return Toy()(arch)


def is_odd(genes: Mapping[str, Knob]) -> bool:
    """A rule between choices of the plain space."""
    return genes["kind"] != "skip" or genes["bias"] is False


@dataclass(frozen=True)
class PlainToy:
    """Width costs and helps, less and less; names decide how much; neighbours that agree help."""

    def __call__(self, point: Mapping[str, Any], fidelity: float = 1.0) -> dict[str, float]:
        widths = [point[f"{i}.width"] for i in range(5)]
        acts = [point[f"{i}.act"] for i in range(5)]
        gain = sum((0.5 + chance(i, act)) * width**0.5 for i, (width, act) in enumerate(zip(widths, acts, strict=True)))
        gain += sum(2.0 * (a == b) for a, b in zip(acts, acts[1:], strict=False)) + 3 * chance(point["kind"])
        noise = (1 - fidelity) * chance("noise", str(dict(point)))
        cost = sum(widths) * (1.5 if point["bias"] else 1.0)
        return {"quality": gain + noise, "cost": float(cost), "memory": float(sum(widths[:2]))}


class Shuffling:
    """Holds several tasks and ends them in an order that a seed decides."""

    def __init__(self, scorer: Any, seed: int, capacity: int = 4) -> None:
        self.capacity, self._scorer, self._seed = capacity, scorer, seed
        self._held: list[Task] = []
        self._turn = 0

    @property
    def room(self) -> int:
        return self.capacity - len(self._held)

    @property
    def pending(self) -> int:
        return len(self._held)

    def submit(self, tasks: Sequence[Task]) -> None:
        assert len(tasks) <= self.room
        self._held += tasks

    def collect(self, timeout_s: float | None = None) -> list[Scored]:
        self._turn += 1
        if not self._held:
            return []
        # the last in is often the first out, as if some were much slower
        at = int(chance(self._seed, self._turn) * len(self._held))
        return [score(self._scorer, self._held.pop(at))]

    def close(self) -> None:
        self._held.clear()


@dataclass(frozen=True)
class Brittle:
    """Dies of one arch, sleeps on one in ten, and reports the thread limit of its process."""

    poison: str

    def __call__(self, arch: Arch) -> dict[str, float]:
        if arch.digest == self.poison:
            os._exit(1)
        time.sleep(0.2 if is_slow(arch) else 0.0)
        return {**Toy()(arch), "threads": float(torch.get_num_threads())}
