"""The losses of one step: ground truth for the largest subnet, ground truth and its soft output for the others."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

CLIP = 5.0
"""Largest density ratio that counts in an alpha-divergence; without a limit its gradients explode."""


def distilled(
    student: Tensor, targets: Tensor, teacher: Tensor | None, weight: float, kind: Literal["kl", "alpha"] = "kl"
) -> Tensor:
    """(1 - weight) * cross-entropy + weight * divergence from the teacher, means over rows of `[M, classes]`; a scalar.

    In-place distillation ("Universally Slimmable Networks", 2019): the teacher's logits come detached from the largest
    subnet of the same step; the largest itself has none.
    """
    hard = F.cross_entropy(student.float(), targets)
    if teacher is None or weight == 0:
        return hard
    p, q = teacher.float().log_softmax(-1), student.float().log_softmax(-1)
    return (1 - weight) * hard + weight * (kl(p, q) if kind == "kl" else adaptive_alpha(p, q))


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q), the mean over rows of log-probabilities `[M, classes]`."""
    return F.kl_div(q, p, log_target=True, reduction="batchmean")


def adaptive_alpha(p: Tensor, q: Tensor) -> Tensor:
    """Row by row the larger of the alpha-divergences of -1 and 1, ratios clipped; log-probabilities `[M, classes]`.

    "AlphaNet: Improved Training of Supernets with Alpha-Divergence" (2021): alpha = 1 is KL(p || q) and punishes what
    the student misses of the teacher, alpha = -1 is (E_q[q / p] - 1) / 2 and punishes what it makes up. Gradients are
    -1 / alpha E_q[min((p / q)^alpha, clip) grad log q].
    """
    with torch.no_grad():
        missed = (p.exp() * (p - q)).sum(-1)
        invented = 0.5 * (q.exp() * (q - p).exp().clamp(max=CLIP)).sum(-1) - 0.5
        forward = torch.minimum(p.exp(), CLIP * q.exp())
        backward = q.exp() * (q - p).exp().clamp(max=CLIP)
        pull = torch.where((missed >= invented)[:, None], -forward, backward)
        value = torch.maximum(missed, invented)
    slope = (pull * q).sum(-1)
    return (value + slope - slope.detach()).mean()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Share of rows on which both choose the same class."""
    return float((student.argmax(-1) == teacher.argmax(-1)).float().mean()) if len(student) else float("nan")


def cosine_lr(step: int, steps: int, *, warmup: float) -> float:
    """Factor on the learning rate: linear over the share `warmup` of the run, then half a cosine down to zero."""
    done = (step + 1) / steps
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (done - warmup) / max(1e-9, 1 - warmup)))))
