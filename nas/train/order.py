"""After the largest arch was trained alone: what matters most comes first, so that leading parts are the best parts.

Heads by the norms of what they write ("Minitron", 2024), hidden units of FFNs likewise ("Once-for-All", 2020), and
private parts that can be had from trained projections, such as latents by singular values ("MHA2MLA", 2025). The
largest arch computes what it did.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.elastic import Projections
from nas.operators.contract import Operator
from nas.supernet import Supernet
from nas.supernet.block import Block
from nas.supernet.ffn import Ffn

Axes = Sequence[tuple[nn.Parameter, int]]
"""Parameters with the axis on which each has the heads or units."""


@torch.no_grad()
def reorder(net: Supernet, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Sorts every block in place, the optimiser's moments with it."""
    largest = net.space.largest()
    for stage, arch in zip(net.stages, largest.stages, strict=True):
        for module, block_arch in zip(cast(nn.ModuleList, stage), arch.blocks, strict=False):
            block = cast(Block, module)
            if block.ffn is not None:
                _sort_hidden(block.ffn, optimiser)
            for projections in block.projections.values():
                _sort_heads(cast(Projections, projections), optimiser)
            if block_arch.operator.name in block.mixers:
                trained = block.projections_of(block_arch.operator.name)
                for mixer in block.mixers.values():
                    cast(Operator[Any], mixer).inherit(trained)


def _sort_heads(projections: Projections, optimiser: torch.optim.Optimizer | None) -> None:
    """Only where every head has keys and values of its own: otherwise heads move in groups that differ by arch."""
    q, k, v, o = (projections.q, projections.k, projections.v, projections.o)
    if q is None or k is None or v is None or o is None or len(q.weight) != len(k.weight):
        return
    importance = _norms(v.weight, 0) * _norms(o.weight, 1)
    order = importance.argsort(descending=True)
    _move([(q.weight, 0), (k.weight, 0), (v.weight, 0), (o.weight, 1)], order, optimiser)


def _sort_hidden(ffn: Ffn, optimiser: torch.optim.Optimizer | None) -> None:
    """Those that a gate may act on stay in front of those beyond it."""
    if ffn.up is None or ffn.down is None:
        return
    importance = _norms(ffn.up.weight, 0) * _norms(ffn.down.weight, 1)
    gated = len(ffn.gate.weight) if ffn.gate is not None else 0
    first, rest = (part.argsort(descending=True) for part in importance.tensor_split([gated]))
    order = torch.cat((first, gated + rest))
    _move([(ffn.up.weight, 0), (ffn.down.weight, 1)], order, optimiser)
    if ffn.gate is not None:
        _move([(ffn.gate.weight, 0)], first, optimiser)


def _norms(weight: Tensor, axis: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight.movedim(axis, 0).flatten(1), dim=1)
    return norms


def _move(axes: Axes, order: Tensor, optimiser: torch.optim.Optimizer | None) -> None:
    for parameter, axis in axes:
        moments = optimiser.state.get(parameter, {}) if optimiser is not None else {}
        for tensor in (parameter, *(value for value in moments.values() if value.shape == parameter.shape)):
            tensor.copy_(tensor.index_select(axis, order))
