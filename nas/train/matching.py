"""Private parts of operators learn to do what the largest arch's own mixers do, before they train with everything else.

Attention transfer ("LoLCATs", 2024): from the same input, each operator's output is fitted to that of the mixer in the
largest arch, by the parameters that are its own (feature maps, gates, latents, scales); the shared ones stay.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from nas import operators
from nas.arch import BlockArch
from nas.operators.contract import Context
from nas.space.space import BlockSpace
from nas.supernet import Supernet
from nas.supernet.block import Block

EPSILON = 1e-6


def match(net: Supernet, inputs: Tensor) -> dict[str, float]:
    """Gives private parameters the gradients of their squared errors over the variance; the mean loss by operator.

    inputs: prepared for the network; operators that read what others publish are left out
    """
    largest = net.space.largest()
    choices = iter([space for stage in net.space.stages for space in stage.blocks])
    losses: dict[str, list[Tensor]] = {}

    def visit(block: Block, x: Tensor, arch: BlockArch, context: Context) -> Tensor:
        with torch.no_grad():
            wanted = block.mixed(x, arch, context)
        for name, error in _errors(block, next(choices), x, arch, context, wanted).items():
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
    found = {}
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
        parameter.grad = slope
