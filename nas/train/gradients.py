"""What a step does with the gradients of its subnets before the optimiser sees them."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

Gradients = list[Tensor | None]


def take(parameters: Iterable[nn.Parameter]) -> Gradients:
    """The gradients so far, which the parameters then no longer have."""
    taken: Gradients = []
    for parameter in parameters:
        taken.append(parameter.grad)
        parameter.grad = None
    return taken


def project(parameters: Sequence[nn.Parameter], largest: Gradients) -> float:
    """Adds the largest subnet's gradients to those of the others, without the part of each that opposes them.

    Per tensor, g_largest - min(0, <g_largest, g>) g / |g|^2 ("NASViT", 2022). Returns the cosine between both over all
    tensors, the early warning of a conflict.
    """
    product, norm, other = 0.0, 0.0, 0.0
    for parameter, own in zip(parameters, largest, strict=True):
        if own is None or parameter.grad is None:
            parameter.grad = own if parameter.grad is None else parameter.grad
            continue
        dot, size = float(torch.sum(own * parameter.grad)), float(torch.sum(parameter.grad**2))
        product, norm, other = product + dot, norm + float(torch.sum(own**2)), other + size
        if dot < 0:
            own = own - (dot / size) * parameter.grad
        parameter.grad = parameter.grad + own
    return product / math.sqrt(norm * other) if norm and other else 0.0
