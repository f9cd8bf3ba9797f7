"""Objectives of plain points, each with one way to misbehave; in a file of their own so that they reach Ray workers."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.errors import ArchError

SPACE = {"a": list(range(32)), "b": list(range(32)), "c": ["x", "y"]}
Point = Mapping[str, Any]


def plain(point: Point) -> dict[str, float]:
    return {"cost": float(point["a"] + point["b"]), "gain": float((point["a"] * 7 + point["b"] * 13) % 32)}


@dataclass(frozen=True)
class Brittle:
    """Dies of one point, hangs at another, sleeps, and reports its process."""

    poison: str = ""
    hang: str = ""
    sleep_s: float = 0.0

    def __call__(self, point: Any) -> dict[str, float]:
        if point.digest == self.poison:
            os._exit(1)
        time.sleep(3600 if point.digest == self.hang else self.sleep_s)
        return {**plain(point), "threads": float(torch.get_num_threads()), "pid": float(os.getpid())}


@dataclass(frozen=True)
class Told:
    """Says what its environment says."""

    name: str

    def __call__(self, point: Point) -> dict[str, float]:
        return {"told": float(os.environ.get(self.name, "nan"))}


class Sorted:
    """Likes its points in the order of `a`, and notes when it was asked for each."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, point: Point) -> dict[str, float]:
        self.asked += 1
        return {**plain(point), "turn": float(self.asked)}

    def order(self, points: Sequence[Point]) -> list[Point]:
        return sorted(points, key=lambda point: point["a"])


class Picky:
    def __call__(self, point: Point) -> dict[str, float]:
        raise ArchError("not one of ours")


class Broken:
    """Cannot be loaded where it arrives."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("no weights on this machine")


@dataclass(frozen=True)
class Noted:
    """Takes its time and notes in a file what it has scored, whoever it is."""

    path: Path
    sleep_s: float

    def __call__(self, point: Any) -> dict[str, float]:
        time.sleep(self.sleep_s)
        with self.path.open("a") as stream:
            stream.write(f"{point.digest}\n")
        return plain(point)
