"""One point of a search space as a frozen value: what a network is, without weights and without torch.

`Arch` -> `StageArch` -> `BlockArch` -> (`OperatorArch`, `FfnArch`, gate). What does not exist cannot be written: depth
is `len(blocks)`, an operator without heads has no head count, and a trailing switched-off block is simply absent. So
equal networks are equal values with one digest.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from nas.errors import ArchError

Knob = int | float | str
NONE = "none"


@dataclass(frozen=True, slots=True)
class OperatorArch:
    """An operator's name and the values of its knobs, sorted by knob; `nas.operators.parse` gives them types."""

    name: str
    knobs: tuple[tuple[str, Knob], ...] = ()

    @classmethod
    def of(cls, name: str, **knobs: Knob) -> Self:
        """The operator with these knobs, whatever order they are written in."""
        return cls(name, tuple(sorted(knobs.items())))

    def __getitem__(self, knob: str) -> Knob:
        return dict(self.knobs)[knob]

    def __contains__(self, knob: str) -> bool:
        return any(name == knob for name, _ in self.knobs)


@dataclass(frozen=True, slots=True)
class FfnArch:
    """A feed-forward part: its kind (`mlp`, `swiglu`, `chunked`, `none`) and its hidden width over `embed_dim`."""

    kind: str = NONE
    ratio: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", float(self.ratio))  # 2 and 2.0 are one value and must have one digest
        if not (self.ratio == 0 if self.kind == NONE else 0 < self.ratio < math.inf):
            raise ArchError(f"an FFN of kind 'none' has ratio 0 and every other kind a positive one, got {self}")

    def hidden(self, embed_dim: int) -> int:
        """Hidden units at this width, at least one."""
        return max(1, round(self.ratio * embed_dim)) if self.ratio else 0


@dataclass(frozen=True, slots=True)
class BlockArch:
    """Token mixing, the gate on its output, and the feed-forward part."""

    operator: OperatorArch
    ffn: FfnArch = FfnArch()
    gate: str = NONE

    def __post_init__(self) -> None:
        if self.operator.name == NONE and self.gate != NONE:
            raise ArchError(f"a gate acts on a mixer's output: operator 'none' takes gate 'none', got {self.gate!r}")

    @property
    def is_off(self) -> bool:
        """Whether the block is the identity."""
        return self.operator.name == NONE and self.ffn.kind == NONE


OFF = BlockArch(OperatorArch(NONE))


@dataclass(frozen=True, slots=True)
class StageArch:
    """Blocks of one width; the stage's depth is `len(blocks)`. An inner `OFF` block keeps the later ones in place."""

    embed_dim: int
    blocks: tuple[BlockArch, ...]

    def __post_init__(self) -> None:
        if self.blocks and self.blocks[-1].is_off:
            raise ArchError("a trailing block that is off does not exist: leave it out, or use StageArch.of")

    @classmethod
    def of(cls, embed_dim: int, blocks: tuple[BlockArch, ...]) -> Self:
        """The stage without its trailing switched-off blocks."""
        while blocks and blocks[-1].is_off:
            blocks = blocks[:-1]
        return cls(embed_dim, blocks)


@dataclass(frozen=True)
class Arch:
    """A whole network: one stage if isotropic, several if a pyramid."""

    stages: tuple[StageArch, ...]

    def __hash__(self) -> int:
        return hash(self.digest)  # computed once, where the tuples would be walked through each time

    @property
    def blocks(self) -> tuple[BlockArch, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that name this network wherever results are kept."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; fields at their defaults are left out, so that a new field changes no digest."""
        return {"stages": [{"embed_dim": s.embed_dim, "blocks": [_block(b) for b in s.blocks]} for s in self.stages]}

    def to_json(self) -> str:
        """The canonical text: equal archs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], known: dict[str, BlockArch] | None = None) -> Self:
        """The arch that `to_dict` wrote; `ArchError` if the data is not one.

        A reader of many archs passes one `known` to all calls: blocks that occur again are then shared, not made again.
        """
        known = {} if known is None else known
        try:
            stages = tuple(
                StageArch(int(s["embed_dim"]), tuple(_known_block(b, known) for b in s["blocks"]))
                for s in data["stages"]
            )
        except ArchError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArchError(f"not an architecture: {error!r}; expected the form that Arch.to_dict writes") from error
        return cls(stages)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The arch that `to_json` wrote."""
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise ArchError(f"not an architecture: {error}; expected the JSON that Arch.to_json writes") from error


def describe(block: BlockArch) -> str:
    """One short line for tables and tooltips, such as `window h4/2 window_size=64 | swiglu x2`."""
    knobs = dict(block.operator.knobs)
    heads = f" h{knobs.pop('num_heads')}" if "num_heads" in knobs else ""
    heads += f"/{knobs.pop('num_kv_heads')}" if "num_kv_heads" in knobs else ""
    rest = "".join(f" {name}={value}" for name, value in knobs.items())
    ffn = f" | {block.ffn.kind} x{block.ffn.ratio:g}" if block.ffn.kind != NONE else ""
    gate = f" | {block.gate}" if block.gate != NONE else ""
    return f"{block.operator.name}{heads}{rest}{gate}{ffn}"


def _block(block: BlockArch) -> dict[str, Any]:
    data: dict[str, Any] = {"operator": {"name": block.operator.name, **dict(block.operator.knobs)}}
    if block.ffn.kind != NONE:
        data["ffn"] = {"kind": block.ffn.kind, "ratio": block.ffn.ratio}
    if block.gate != NONE:
        data["gate"] = block.gate
    return data


def _known_block(data: Mapping[str, Any], known: dict[str, BlockArch]) -> BlockArch:
    key = repr(data)  # tells 2 from 2.0 and "2", as equality would not
    if key not in known:
        known[key] = _read_block(data)
    return known[key]


def _read_block(data: Mapping[str, Any]) -> BlockArch:
    ffn = data.get("ffn", {"kind": NONE, "ratio": 0.0})
    return BlockArch(
        OperatorArch.of(**data["operator"]), FfnArch(str(ffn["kind"]), float(ffn["ratio"])), str(data.get("gate", NONE))
    )
