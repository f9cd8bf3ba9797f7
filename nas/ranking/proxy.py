"""Zero-cost proxies: what one batch through an untrained network says about it, to be beaten by inherited scores."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.arch import Arch
from nas.data.contract import Examples
from nas.elastic import ElasticNorm
from nas.shapes import ImageShape
from nas.supernet import Supernet
from nas.tasks.contract import Task
from nas.train.batches import batch_index


def proxies(
    net: Supernet, arch: Arch, task: Task, examples: Examples, *, batch_size: int, seed: int
) -> dict[str, float]:
    """All of them by name, more being better, on the first batch that a training with this seed sees.

    net: of the arch alone, untrained; it is left as it is
    """
    index = batch_index(len(examples), batch_size, seed, 0)
    inputs, targets = task.prepare(examples, index, torch.device("cpu"))
    loss = task.loss(net(inputs, arch), targets)
    weights = [p for p in net.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(loss, weights, allow_unused=True)
    return {
        "synflow": synflow(net, arch, inputs),
        "grad_norm": _norms(slopes),
        "snip": _saliency(weights, slopes),
    }


def synflow(net: Supernet, arch: Arch, inputs: Tensor) -> float:
    """Sum of |w dR/dw|, R the sum of the logits of the net with the absolute values of its weights on inputs of ones.

    "Pruning neural networks without any data by iteratively conserving synaptic flow" (2020); norms are left out as in
    "Zero-cost proxies for lightweight NAS" (2021), since a norm takes away what flows. Token ids stay as they are:
    their embeddings are the positive inputs. Multiplied gates such as SwiGLU can let it overflow, to NaN or infinity.
    """
    plain = copy.deepcopy(net).double()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.abs_()
    for module in plain.modules():
        if isinstance(module, ElasticNorm):
            module.register_forward_hook(_unnormed)
    ones = torch.ones_like(inputs[:1], dtype=torch.float64) if isinstance(net.shape, ImageShape) else inputs[:1]
    weights = [p for p in plain.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(plain(ones, arch).sum(), weights, allow_unused=True)
    return _saliency(weights, slopes)


def _unnormed(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> Tensor:
    return inputs[0]


def _norms(slopes: Sequence[Tensor | None]) -> float:
    """Sum of the gradients' Euclidean norms, a tensor at a time (2021, as above)."""
    return sum(float(slope.double().norm()) for slope in slopes if slope is not None)


def _saliency(weights: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> float:
    """Sum of |w dL/dw|; of the loss it is SNIP ("SNIP: single-shot network pruning", 2019)."""
    pairs = zip(weights, slopes, strict=True)
    return sum(float((weight.detach() * slope).double().abs().sum()) for weight, slope in pairs if slope is not None)
