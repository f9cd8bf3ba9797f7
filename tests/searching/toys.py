"""Scorers that cost nothing, as classes so that they reach Ray workers."""

import hashlib
import os
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from nas.arch import NONE, Arch, BlockArch


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


@dataclass(frozen=True)
class Brittle:
    """Dies of one arch, sleeps on one in ten, and reports the thread limit of its process."""

    poison: str

    def __call__(self, arch: Arch) -> dict[str, float]:
        if arch.digest == self.poison:
            os._exit(1)
        time.sleep(0.2 if is_slow(arch) else 0.0)
        return {**Toy()(arch), "threads": float(torch.get_num_threads())}
