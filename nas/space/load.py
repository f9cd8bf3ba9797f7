"""From a space file's content to a `SearchSpace`, or an error that names the choice that breaks a rule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field

from nas import gates, operators
from nas.arch import NONE, FfnArch, Knob, OperatorArch
from nas.config import config, load
from nas.errors import ArchError
from nas.shapes import Domain
from nas.space.space import BlockSpace, Frame, Head, SearchSpace, StageSpace, Stem

HEADS = ("num_heads", "num_kv_heads", "head_dim")
FFNS = ("mlp", "swiglu", "chunked", NONE)


@config
class StemConfig:
    """See `Stem`."""

    patch: Annotated[int, Field(ge=0)] = 0
    conv: Annotated[int, Field(ge=0)] = 0


@config
class HeadConfig:
    """See `Head`."""

    rank: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] = 1


@config
class BlockConfig:
    """Choices of one block; head choices hold for every operator that has heads."""

    operators: dict[str, dict[str, tuple[Knob, ...]]]
    num_heads: tuple[int, ...] = (1,)
    num_kv_heads: tuple[int, ...] = (1,)
    head_dim: tuple[int, ...] = (16,)
    ffn: dict[str, tuple[float, ...]]
    gate: tuple[str, ...] = (NONE,)


@config
class StageConfig:
    """Choices of one stage; `blocks` overrides parts of `block` at single positions, counted from 0."""

    embed_dim: tuple[int, ...]
    depth: tuple[int, ...]
    block: dict[str, Any]
    reduction: Annotated[int, Field(ge=1)] = 1
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict)


@config
class SpaceConfig:
    """A space file."""

    name: str
    domain: Domain
    stem: StemConfig
    stages: tuple[StageConfig, ...]
    head: HeadConfig = field(default_factory=HeadConfig)


def load_space(values: Mapping[str, Any]) -> SearchSpace:
    """The space that the mapping describes; every operator, knob and combination in it is checked."""
    spec = load(SpaceConfig, values)
    if spec.head.rank and spec.domain != "image":
        raise ArchError(
            f"a head of rank {spec.head.rank} is for images, space {spec.name!r} is {spec.domain}: leave it out"
        )
    reductions = tuple(stage.reduction for stage in spec.stages)
    stem, head = Stem(spec.stem.patch, spec.stem.conv), Head(spec.head.rank, spec.head.count)
    frame = Frame(spec.name, spec.domain, stem, reductions, head)
    if not spec.stages:
        raise ArchError(f"space {spec.name!r} needs at least one stage")
    return SearchSpace(frame, tuple(_stage(stage, frame) for stage in spec.stages))


def _stage(stage: StageConfig, frame: Frame) -> StageSpace:
    depths, widths = _ascending("depth", stage.depth), _ascending("embed_dim", stage.embed_dim)
    if wrong := [index for index in stage.blocks if not 0 <= index < depths[-1]]:
        raise ArchError(f"'blocks' overrides positions 0 to {depths[-1] - 1} of the stage, got {wrong}")
    blocks = [load(BlockConfig, {**stage.block, **stage.blocks.get(i, {})}) for i in range(depths[-1])]
    space = StageSpace(widths, depths, tuple(_block(block, frame.domain) for block in blocks))
    for index in range(len(blocks)):
        _refuse_unserved(space, index)
    return space


def _refuse_unserved(stage: StageSpace, index: int) -> None:
    """Operators that consume need an earlier block that may publish for them, and a stand-in for archs where none does.

    Which archs are legal, `can_follow` says.
    """
    block = stage.blocks[index]
    served = {op.name for op in block.operators if stage.serves(index, op)}
    if unserved := [name for name in block.names if name not in served]:
        raise ArchError(
            f"block {index} offers {', '.join(unserved)}, which can follow no operator of the stage's earlier blocks: "
            f"leave it out there by an override 'blocks: {{{index}: {{operators: …}}}}'"
        )
    if all(operators.get(name).consumes for name in block.names):
        raise ArchError(f"block {index} offers only operators that need an earlier block: add one that does not")


def _ascending(name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or min(values) < 1:
        raise ArchError(f"{name} needs at least one choice and only positive ones, got {values}")
    return tuple(sorted(set(values)))


def _block(block: BlockConfig, domain: Domain) -> BlockSpace:
    combinations = [op for name in block.operators for op in _combinations(name, block, domain)]
    for gate in block.gate:
        if gate != NONE and domain not in gates.get(gate).domains:
            raise ArchError(
                f"gate {gate!r} is not legal in domain {domain!r}, only in {sorted(gates.get(gate).domains)}"
            )
    ffns = _ffns(block.ffn)
    if not combinations or not ffns or not block.gate:
        raise ArchError("a block needs at least one operator, one FFN and one gate; write 'none' for an absent one")
    asked = {knob: getattr(block, knob) for knob in HEADS if any(knob in op for op in combinations)}
    _refuse_dead("a block", asked, combinations)
    return BlockSpace(tuple(combinations), tuple(ffns), tuple(dict.fromkeys(block.gate)))


def _ffns(choices: dict[str, tuple[float, ...]]) -> list[FfnArch]:
    if unknown := sorted(set(choices) - set(FFNS)):
        raise ArchError(f"an FFN kind must be one of {', '.join(FFNS)}; got {unknown}")
    return [
        FfnArch(kind, ratio)
        for kind, ratios in choices.items()
        for ratio in ((0.0,) if kind == NONE else sorted(set(ratios), reverse=True))
    ]


def _combinations(name: str, block: BlockConfig, domain: Domain) -> list[OperatorArch]:
    operator = operators.get(name)
    if domain not in operator.domains:
        raise ArchError(f"operator {name!r} is not legal in domain {domain!r}, only in {sorted(operator.domains)}")
    choices = _choices(name, block)
    made = [OperatorArch.of(name, **dict(zip(choices, values, strict=True))) for values in _descending(choices)]
    legal = [op for op in made if _is_legal(op)]
    if not legal:
        raise ArchError(
            f"operator {name!r} has no legal combination of {choices} ({_reason(made[0])}): widen its knobs"
        )
    _refuse_dead(f"operator {name!r}", {knob: choices[knob] for knob in block.operators[name]}, legal)
    return legal


def _refuse_dead(owner: str, choices: Mapping[str, Sequence[Knob]], legal: Sequence[OperatorArch]) -> None:
    """Every listed value must be reachable: a choice that no combination can take is a mistake in the space."""
    for knob, values in choices.items():
        users = [op for op in legal if knob in op]
        if dead := [value for value in values if not any(op[knob] == value for op in users)]:
            raise ArchError(f"{owner}: no legal combination has {knob} = {dead}; remove it or widen the other knobs")


def _choices(name: str, block: BlockConfig) -> dict[str, tuple[Knob, ...]]:
    own, known = block.operators[name], operators.knob_names(name)
    if unknown := sorted(set(own) - set(known)):
        raise ArchError(f"operator {name!r} has the knobs ({', '.join(known)}); got unknown {', '.join(unknown)}")
    common: dict[str, tuple[Knob, ...]] = {knob: getattr(block, knob) for knob in HEADS if knob in known}
    choices = {**common, **own}
    if missing := [knob for knob in known if not choices.get(knob)]:
        raise ArchError(f"operator {name!r} needs choices for {', '.join(missing)}: write {missing[0]}: [value, …]")
    return {knob: choices[knob] for knob in known}


def _descending(choices: Mapping[str, Sequence[Knob]]) -> list[tuple[Knob, ...]]:
    ordered = [_largest_first(values) for values in choices.values()]
    ranks = itertools.product(*(range(len(values)) for values in ordered))
    by_size = sorted(ranks, key=lambda rank: sum(r / max(1, len(v) - 1) for r, v in zip(rank, ordered, strict=True)))
    return [tuple(values[r] for values, r in zip(ordered, rank, strict=True)) for rank in by_size]


def _largest_first(values: Sequence[Knob]) -> list[Knob]:
    unique = list(dict.fromkeys(values))
    return unique if any(isinstance(v, str) for v in unique) else sorted(unique, reverse=True)


def _is_legal(operator: OperatorArch) -> bool:
    return not _reason(operator)


def _reason(operator: OperatorArch) -> str:
    """Why the combination is not legal; empty if it is."""
    try:
        operators.parse(operator)
    except ArchError as error:
        return str(error)
    return ""
