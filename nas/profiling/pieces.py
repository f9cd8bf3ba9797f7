"""Modules to be timed, cut out of a supernet and held against the slice that they were cut from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import NONE, Arch, BlockArch
from nas.errors import MeasurementError
from nas.operators.contract import Context, Site
from nas.profiling.parts import NO_MIXER, Part
from nas.profiling.timer import Subject
from nas.space.space import BlockSpace
from nas.supernet import Supernet, example_inputs, extract
from nas.supernet.block import Block
from nas.supernet.layout import block_site, sites
from nas.supernet.model import fill

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float64: 1e-10}
Call = Callable[[nn.Module, Tensor], Tensor]


class Piece(nn.Module):
    """A part of a network as one plain module `f(x)`."""

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module, self._call = module, call

    def forward(self, x: Tensor) -> Tensor:
        """The part's output."""
        return self._call(self.module, x)


class _Placed(nn.Module):
    """A block behind others: what they published for it is given, so that the block alone is timed."""

    def __init__(self, block: Block, arch: BlockArch, site: Site, published: dict[str, Tensor]) -> None:
        super().__init__()
        self.block, self._arch, self._site, self._names = block, arch, site, tuple(published)
        for name, tensor in published.items():
            self.register_buffer(f"published_{name}", tensor)

    def forward(self, x: Tensor) -> Tensor:
        published = {name: self.get_buffer(f"published_{name}") for name in self._names}
        y: Tensor = self.block(x, self._arch, Context(self._site, published))
        return y


@dataclass(frozen=True, slots=True)
class Cut:
    """An extracted module, the supernet's slice that it must equal, and an input for both."""

    name: str
    module: nn.Module
    slice: Callable[[Tensor], Tensor]
    inputs: Tensor

    def subject(self, torch_device: str, dtype: torch.dtype) -> Subject:
        """The module ready to be timed; `MeasurementError` unless its output equals the slice's."""
        with torch.inference_mode():
            wanted, got = self.slice(self.inputs), self.module(self.inputs)
        difference, size = float((wanted - got).abs().max()), float(wanted.abs().max())
        if not difference <= TOLERANCE[wanted.dtype] * max(1.0, size):
            raise MeasurementError(
                f"a module is timed only if it equals its supernet slice; {self.name} differs by {difference:.2g}: "
                "its operator's parameters are not leading corners, run tests/operators"
            )
        inputs = self.inputs.to(torch_device, dtype if self.inputs.is_floating_point() else None)
        return Subject(self.module.to(torch_device, dtype), inputs)


def cut_net(net: Supernet, arch: Arch, *, batch: int, seed: int) -> Cut:
    """A whole subnet."""
    module = extract(net, arch).eval()
    return Cut(
        f"arch {arch.digest}", module, lambda x: cast(Tensor, net(x, arch)), example_inputs(net.shape, batch, seed)
    )


def cut_part(net: Supernet, part: Part, *, batch: int, seed: int) -> Cut:
    """One part of the supernet's archs."""
    inputs = _inputs(net, part, batch, seed)
    small, big, call = _ends(net, part) if part.kind in ("stem", "head", "transition") else _inner(net, part, inputs)
    return Cut(part.key, Piece(small.eval(), call), lambda x: call(big, x), inputs)


def _inputs(net: Supernet, part: Part, batch: int, seed: int) -> Tensor:
    if part.kind == "stem":
        return example_inputs(net.shape, batch, seed)
    stage = part.stage - (part.kind == "transition")
    tokens = sites(net.space.frame, net.shape)[stage].tokens
    return torch.randn(batch, tokens, part.embed_dim, generator=torch.Generator().manual_seed(seed))


def _ends(net: Supernet, part: Part) -> tuple[nn.Module, nn.Module, Call]:
    small = extract(net, _with_widths(net.space.smallest(), part)).net
    if part.kind == "stem":
        return small.stem, net.stem, lambda module, x: module(x, part.embed_dim)
    if part.kind == "head":
        return small.head, net.head, lambda module, x: module(x)
    index = part.stage - 1
    return small.transitions[index], net.transitions[index], lambda module, x: module(x, part.to_dim)


def _with_widths(arch: Arch, part: Part) -> Arch:
    at = part.stage - 1 if part.kind == "transition" else part.stage
    widths = {at: part.embed_dim, **({part.stage: part.to_dim} if part.kind == "transition" else {})}
    return Arch(tuple(replace(s, embed_dim=widths.get(i, s.embed_dim)) for i, s in enumerate(arch.stages)))


def _inner(net: Supernet, part: Part, inputs: Tensor) -> tuple[nn.Module, nn.Module, Call]:
    index = _position(net, part)
    big, site = _block(net, part, index)
    if part.kind == "gate":
        gate = big.gates[part.gate]
        return fill(type(gate)(site), gate), gate, lambda module, x: module(x, Context(site))
    arch = BlockArch(part.operator, part.ffn)
    small = Block(BlockSpace((arch.operator,), (arch.ffn,), (NONE,)), site, net.share)
    published = _published(net, part, index, inputs)
    return _Placed(fill(small, big), arch, site, published), _Placed(big, arch, site, published), _run


def _run(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = module(x)
    return y


def _published(net: Supernet, part: Part, index: int, inputs: Tensor) -> dict[str, Tensor]:
    """What the first earlier operator that the part can follow publishes; nothing if the part reads nothing."""
    names = operators.get(part.operator.name).consumes
    source = net.space.stages[part.stage].source(index, part.operator)
    if not names or source is None:
        return {}
    block, site = _block(net, part, source[0])
    context = Context(site)
    with torch.no_grad():
        block(inputs, BlockArch(source[1]), context)
    return {name: context.published[name] for name in names}


def _block(net: Supernet, part: Part, index: int) -> tuple[Block, Site]:
    site = block_site(sites(net.space.frame, net.shape)[part.stage], part.embed_dim, index)
    return cast(Block, cast(nn.ModuleList, net.stages[part.stage])[index]), site


def _position(net: Supernet, part: Part) -> int:
    stage = net.space.stages[part.stage]
    for index, block in enumerate(stage.blocks):
        offers = {
            "mixer": part.operator in block.operators and stage.serves(index, part.operator),
            "gate": part.gate in block.gates and block.operators != (NO_MIXER,),
            "ffn": part.ffn in block.ffns,
        }
        if offers[part.kind]:
            return index
    raise MeasurementError(f"no block of space {net.space.frame.name!r} offers {part.key}: profile the space itself")
