"""The losses of one step: ground truth for the largest subnet, ground truth and its soft output for the others."""

import torch
import torch.nn.functional as F
from torch import Tensor


def distilled(student: Tensor, targets: Tensor, teacher: Tensor | None, weight: float) -> Tensor:
    """(1 - weight) * cross-entropy + weight * KL(teacher || student), means over rows of `[M, classes]`; a scalar.

    In-place distillation ("Universally Slimmable Networks", 2019): the teacher's logits come detached from the largest
    subnet of the same step; the largest itself has none.
    """
    hard = F.cross_entropy(student.float(), targets)
    if teacher is None or weight == 0:
        return hard
    soft = F.kl_div(student.float().log_softmax(-1), teacher.float().log_softmax(-1), log_target=True, reduction="none")
    return (1 - weight) * hard + weight * soft.sum(-1).mean()


def distill_weight(step: int, steps: int, *, start: float, weight: float) -> float:
    """0 until the share `start` of the run, since a teacher that knows nothing teaches nothing, then `weight`."""
    return weight if step >= start * steps else 0.0


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Share of rows on which both choose the same class."""
    return float((student.argmax(-1) == teacher.argmax(-1)).float().mean()) if len(student) else float("nan")


def cosine_lr(step: int, steps: int, *, warmup: float) -> float:
    """Factor on the learning rate: linear over the share `warmup` of the run, then half a cosine down to zero."""
    done = (step + 1) / steps
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (done - warmup) / max(1e-9, 1 - warmup)))))
