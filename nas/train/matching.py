"""Private parts of operators learn to do what the largest arch's own mixers do, before they train with everything else.

Attention transfer ("LoLCATs", 2024): from the same input, each operator's output is fitted to that of the mixer in the
largest arch, by the parameters that are its own (feature maps, gates, latents, scales); the shared ones stay.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import NONE, BlockArch
from nas.operators.contract import Context
from nas.space.space import BlockSpace
from nas.supernet import Supernet
from nas.supernet.block import Block

EPSILON = 1e-6


def match(net: Supernet, inputs: Tensor) -> dict[str, float]:
    """Adds to private parameters the gradients of squared errors over the variance; the mean loss by operator.

    inputs: prepared for the network; operators that read what others publish are left out
    """
    largest = net.space.largest()
    stages = zip(net.space.stages, largest.stages, strict=True)
    choices = iter([space for stage, arch in stages for space, _ in zip(stage.blocks, arch.blocks, strict=False)])
    losses: dict[str, list[Tensor]] = {}

    def visit(block: Block, x: Tensor, arch: BlockArch, context: Context) -> Tensor:
        with torch.no_grad():
            wanted = block.mixed(x, arch, context)
        space = next(choices)
        for name, error in _errors(block, space, x, arch, context, wanted).items():
            losses.setdefault(name, []).append(error)
        with torch.no_grad():
            return block.fed_forward(wanted, arch)

    with torch.no_grad():
        x = net.stem(inputs, largest.stages[0].embed_dim)
    net.through(x, largest, visit, [])
    return {f"matching.{name}": float(torch.stack(own).mean()) for name, own in losses.items()}


def _errors(
    block: Block, choices: BlockSpace, x: Tensor, arch: BlockArch, context: Context, wanted: Tensor
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if arch.operator.name == NONE:
        return found  # nothing to be like
    target = wanted - x
    for name in block.mixers:
        if name == arch.operator.name or operators.get(name).consumes:
            continue
        own = choices.largest(name)
        there = replace(context, published=dict(context.published), penalties=[])
        error = torch.mean((block.mixed(x, own, there) - x - target) ** 2) / (target.var() + EPSILON)
        _assign(error, block.private(name, beside=arch.operator.name))
        found[name] = error.detach()
    return found


def _assign(error: Tensor, parameters: list[nn.Parameter]) -> None:
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter, slope in zip(wanted, torch.autograd.grad(error, wanted, allow_unused=True), strict=True):
        if slope is not None:  # what operators of a family share is fitted to all of them
            parameter.grad = slope if parameter.grad is None else parameter.grad + slope
