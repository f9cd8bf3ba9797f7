"""Archs as flat genes, for optimisers that know only named choices."""

from collections.abc import Mapping
from functools import cached_property

from nas.arch import NONE, Arch, BlockArch, Knob
from nas.space.load import HEADS
from nas.space.space import BlockSpace, SearchSpace, settle


class Encoder:
    """The genes of one space; their order is fixed by the space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    @cached_property
    def choices(self) -> dict[str, tuple[Knob, ...]]:
        """Gene -> its values; head knobs are shared by the operators of a block, others carry the operator's name."""
        genes: dict[str, tuple[Knob, ...]] = {}
        for s, stage in enumerate(self._space.stages):
            genes[f"{s}.embed_dim"], genes[f"{s}.depth"] = stage.embed_dims, stage.depths
            for b, block in enumerate(stage.blocks):
                genes.update({f"{s}.{b}.{name}": values for name, values in _block_choices(block).items()})
        return genes

    def genes(self, arch: Arch) -> dict[str, Knob]:
        """The genes that the arch expresses; those of absent blocks and other operators are left out."""
        found: dict[str, Knob] = {}
        for s, (space, stage) in enumerate(zip(self._space.stages, arch.stages, strict=True)):
            depth = next(d for d in space.depths if d >= len(stage.blocks))
            found[f"{s}.embed_dim"], found[f"{s}.depth"] = stage.embed_dim, depth
            off = [BlockArch(space.blocks[b].of(NONE)[0]) for b in range(len(stage.blocks), depth)]
            for b, block in enumerate([*stage.blocks, *off]):
                found.update({f"{s}.{b}.{name}": value for name, value in _block_genes(block).items()})
        return found

    def arch(self, genes: Mapping[str, Knob]) -> Arch:
        """The arch of these genes; missing ones take their first value, illegal combinations the closest legal one."""
        full = {name: genes.get(name, values[0]) for name, values in self.choices.items()}
        drafts = []
        for s, stage in enumerate(self._space.stages):
            depth = int(full[f"{s}.depth"])
            blocks = [_express(space, f"{s}.{b}.", full) for b, space in enumerate(stage.blocks[:depth])]
            drafts.append((int(full[f"{s}.embed_dim"]), blocks))
        return settle(self._space, drafts)


def _block_choices(block: BlockSpace) -> dict[str, tuple[Knob, ...]]:
    genes: dict[str, tuple[Knob, ...]] = {"operator": block.names}
    for operator in block.operators:
        for knob, value in operator.knobs:
            name = knob if knob in HEADS else f"{operator.name}.{knob}"
            genes[name] = tuple(dict.fromkeys((*genes.get(name, ()), value)))
    genes["ffn"] = tuple(f"{ffn.kind} x{ffn.ratio:g}" for ffn in block.ffns)
    genes["gate"] = block.gates
    return genes


def _block_genes(block: BlockArch) -> dict[str, Knob]:
    operator = block.operator
    knobs = {knob if knob in HEADS else f"{operator.name}.{knob}": value for knob, value in operator.knobs}
    genes: dict[str, Knob] = {"operator": operator.name, **knobs, "ffn": f"{block.ffn.kind} x{block.ffn.ratio:g}"}
    return genes if operator.name == NONE else {**genes, "gate": block.gate}


def _express(space: BlockSpace, prefix: str, genes: Mapping[str, Knob]) -> BlockArch:
    name = str(genes[f"{prefix}operator"])
    wanted = {
        knob: genes[f"{prefix}{knob if knob in HEADS else f'{name}.{knob}'}"] for knob, _ in space.of(name)[0].knobs
    }
    ffn = next(ffn for ffn in space.ffns if f"{ffn.kind} x{ffn.ratio:g}" == genes[f"{prefix}ffn"])
    return space.block(space.closest(name, wanted), ffn, str(genes[f"{prefix}gate"]))
