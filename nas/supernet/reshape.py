"""The same weights at another task shape: longer or shorter sequences, larger or smaller images."""

import torch
from torch import Tensor

from nas.shapes import TaskShape
from nas.supernet.model import Supernet


def reshaped(net: Supernet, shape: TaskShape) -> Supernet:
    """A supernet of the same space for `shape`; what depends on the size (positions, length maps) is cut or repeated.

    For measuring: such a network costs what a trained one would, but what it computes is not that of a trained one.
    """
    if shape == net.shape:
        return net
    other = type(net)(net.space, shape, sharing=net.sharing)
    known = net.state_dict()
    other.load_state_dict({name: _fitted(known[name], value) for name, value in other.state_dict().items()})
    return other.train(net.training)


def _fitted(source: Tensor, target: Tensor) -> Tensor:
    for axis, size in enumerate(target.shape):
        if source.shape[axis] != size:
            source = source.index_select(axis, torch.arange(size, device=source.device) % source.shape[axis])
    return source
