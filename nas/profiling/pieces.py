"""Modules to be timed, cut out of a supernet and held against the slice that they were cut from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import NONE, Arch, BlockArch
from nas.errors import MeasurementError
from nas.operators.contract import Context, Site
from nas.profiling.modules import BlockPass, BlockStep, NetStep, Packing, Piece, StemStep, tensors_of
from nas.profiling.parts import NO_MIXER, Part
from nas.profiling.program import Program, Tensors
from nas.profiling.runtimes import Runtime
from nas.profiling.workload import Workload
from nas.space.space import BlockSpace
from nas.supernet import Supernet, decode, example_inputs, extract
from nas.supernet.block import Block
from nas.supernet.layout import block_site, sites
from nas.supernet.model import fill
from nas.supernet.stem import TokenStem

EXACT = 1e-5
NARROW = 3e-2  # bfloat16 keeps 8 bits


@dataclass(frozen=True, slots=True)
class Cut:
    """An extracted module, the supernet's slice that it must equal, and inputs for both."""

    name: str
    module: nn.Module
    slice: Callable[..., Any]
    inputs: Tensors

    def program(self, runtime: Runtime) -> Program:
        """The module on a runtime; `MeasurementError` unless it gives there what the slice gives."""
        wanted = self.checked()
        return self.accepted(runtime.prepare(self.module, self.inputs), wanted, runtime)

    def checked(self) -> Tensors:
        """What the slice gives; `MeasurementError` unless the module gives the same."""
        with torch.inference_mode():
            wanted, got = (tensors_of(f(*self.inputs)) for f in (self.slice, self.module))
        self._compare(wanted, got, EXACT, "its operator's parameters are not leading corners, run tests/operators")
        return wanted

    def accepted(self, program: Program, wanted: Tensors, runtime: Runtime) -> Program:
        """The program; `MeasurementError` unless it gives what is wanted."""
        narrow = runtime.setup.dtype != torch.float32
        remedy = f"runtime {runtime.name!r} computes something else, use another profile.runtime"
        self._compare(wanted, program.outputs(), NARROW if narrow else runtime.tolerance, remedy)
        return program

    def _compare(self, wanted: Tensors, got: Tensors, tolerance: float, remedy: str) -> None:
        for one, other in zip(wanted, got, strict=False):
            if not one.numel():  # a cache that is empty yet
                continue
            difference, size = float((one - other.to(one.dtype)).abs().max()), float(one.abs().max())
            if not difference <= tolerance * max(1.0, size):
                raise MeasurementError(
                    f"a module is timed only if it equals its supernet slice; {self.name} differs by {difference:.2g}: "
                    f"{remedy}"
                )


def cut_net(net: Supernet, arch: Arch, load: Workload, *, seed: int) -> Cut:
    """A whole subnet: a forward pass over all tokens, or one token behind a cache."""
    module, name = extract(net, arch).eval(), f"arch {arch.digest}"
    x = example_inputs(load.shape, load.batch, seed)
    if load.phase == "prefill":
        return Cut(name, module, lambda x: net(x, arch), (x,))
    with torch.no_grad():
        packing, tensors = Packing.of(decode.prefill(module.net, x[:, : load.cache], arch))
    return Cut(name, NetStep(module.net, arch, packing), NetStep(net, arch, packing), (x[:, -1:], *tensors))


def cut_part(net: Supernet, part: Part, load: Workload, *, seed: int) -> Cut:
    """One part of the supernet's archs."""
    inputs = _inputs(net, part, load, seed)
    if part.kind in ("mixer", "ffn"):
        return _block(net, part, inputs, load)
    if part.kind == "gate":
        return _gate(net, part, inputs, load)
    if part.kind == "stem" and load.phase == "decode":
        return _stem_step(net, part, inputs, load)
    small, big, told = _ends(net, part)
    x = inputs[:, -1:] if load.phase == "decode" else inputs
    return Cut(part.key, Piece(small, *told).eval(), Piece(big, *told), (x,))


def _inputs(net: Supernet, part: Part, load: Workload, seed: int) -> Tensor:
    if part.kind == "stem":
        return example_inputs(load.shape, load.batch, seed)
    stage = part.stage - (part.kind == "transition")
    tokens = sites(net.space.frame, load.shape)[stage].tokens
    return torch.randn(load.batch, tokens, part.embed_dim, generator=torch.Generator().manual_seed(seed))


def _ends(net: Supernet, part: Part) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
    small = extract(net, _with_widths(net.space.smallest(), part)).net
    if part.kind == "stem":
        return small.stem, net.stem, (part.embed_dim,)
    if part.kind == "head":
        return small.head, net.head, ()
    index = part.stage - 1
    return small.transitions[index], net.transitions[index], (part.to_dim,)


def _stem_step(net: Supernet, part: Part, x: Tensor, load: Workload) -> Cut:
    small = extract(net, _with_widths(net.space.smallest(), part)).net
    one, other = cast(TokenStem, small.stem), cast(TokenStem, net.stem)
    with torch.no_grad():
        packing, tensors = Packing.of(one.prefill(x[:, : load.cache], part.embed_dim))
    steps = [StemStep(stem, part.embed_dim, load.cache, packing) for stem in (one, other)]
    return Cut(part.key, steps[0].eval(), steps[1], (x[:, -1:], *tensors))


def _with_widths(arch: Arch, part: Part) -> Arch:
    at = part.stage - 1 if part.kind == "transition" else part.stage
    widths = {at: part.embed_dim, **({part.stage: part.to_dim} if part.kind == "transition" else {})}
    return Arch(tuple(replace(s, embed_dim=widths.get(i, s.embed_dim)) for i, s in enumerate(arch.stages)))


def _gate(net: Supernet, part: Part, x: Tensor, load: Workload) -> Cut:
    big, site = _placed(net, part, _position(net, part))
    gate = big.gates[part.gate]
    small = fill(type(gate)(site), gate)
    x = x[:, -1:] if load.phase == "decode" else x
    # of gates that weigh a mixer's output against its input both are the same tokens here
    context = Context(site, entered=x)
    return Cut(part.key, Piece(small, context).eval(), Piece(gate, context), (x,))


def _block(net: Supernet, part: Part, x: Tensor, load: Workload) -> Cut:
    index = _position(net, part)
    big, site = _placed(net, part, index)
    arch = BlockArch(part.operator, part.ffn)
    small = fill(Block(BlockSpace((arch.operator,), (arch.ffn,), (NONE,)), site, net.sharing), big).eval()
    published = _published(net, part, index, x)
    names, given = tuple(published), tuple(published.values())
    if load.phase == "prefill":
        one, other = (BlockPass(block, arch, site, names) for block in (small, big))
        return Cut(part.key, one, other, (x, *given))
    with torch.no_grad():
        context = Context(site, {name: value[..., : load.cache, :] for name, value in published.items()})
        packing, tensors = Packing.of(small.prefill(x[:, : load.cache], arch, context)[1])
    before, after = (BlockStep(block, arch, site, names, packing) for block in (small, big))
    return Cut(part.key, before, after, (x[:, -1:], *(value[..., : load.cache + 1, :] for value in given), *tensors))


def _published(net: Supernet, part: Part, index: int, inputs: Tensor) -> dict[str, Tensor]:
    """What the first earlier operator that the part can follow publishes; nothing if the part reads nothing."""
    names = operators.get(part.operator.name).consumes
    source = net.space.stages[part.stage].source(index, part.operator)
    if not names or source is None:
        return {}
    block, site = _placed(net, part, source[0])
    context = Context(site)
    with torch.no_grad():
        block(inputs, BlockArch(source[1]), context)
    return {name: context.published[name] for name in sorted(names)}


def _placed(net: Supernet, part: Part, index: int) -> tuple[Block, Site]:
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
