"""Depthwise convolution of any kernel up to the built one, over a sequence or the grid of an image.

Taps are stored from the centre outwards (from the newest to the oldest if causal), so that a smaller kernel is the core
of the larger one and its weights are their leading part.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import ArchError
from nas.operators.contract import Site
from nas.shapes import Domain

Offset = tuple[int, ...]


def offsets(kernel_size: int, domain: Domain) -> list[Offset]:
    """The kernel's offsets in the order in which taps are stored; those of a smaller kernel come first."""
    if domain == "causal":
        return [(-age,) for age in range(kernel_size)]
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    places: list[Offset] = [(i, j) for i in reach for j in reach] if domain == "image" else [(i,) for i in reach]
    return sorted(places, key=lambda place: (max(map(abs, place)), place))


def check_kernel(kernel_size: int) -> None:
    """`ArchError` for a kernel without a centre."""
    if kernel_size % 2 == 0:
        raise ArchError(f"kernel_size must be odd, got {kernel_size}: take one more or less")


def new_taps(width: int, kernel_sizes: Sequence[int], domain: Domain) -> nn.Parameter:
    """Random taps `[width, count]` of the largest kernel."""
    count = max(len(offsets(size, domain)) for size in kernel_sizes)
    return nn.Parameter(torch.randn(width, count) / math.sqrt(count))


def convolved(x: Tensor, taps: Tensor, kernel_size: int, site: Site) -> Tensor:
    """Each channel of `x [B, T, C]` with its own kernel, the leading ones of `taps`; zeros lie beyond the edges."""
    width, signal = x.shape[-1], x.transpose(1, 2)
    kernel = _in_grid_order(taps, width, kernel_size, site.domain)
    if site.domain == "image":
        grid = signal.reshape(*signal.shape[:2], *grid_of(site))
        kernel = kernel.view(width, 1, kernel_size, kernel_size)
        y = F.conv2d(grid, kernel, padding=kernel_size // 2, groups=width).flatten(2)
    else:
        before, after = (kernel_size - 1, 0) if site.is_causal else (kernel_size // 2, kernel_size // 2)
        y = F.conv1d(F.pad(signal, (before, after)), kernel.view(width, 1, kernel_size), groups=width)
    return y.transpose(1, 2)


def convolved_slowly(x: Tensor, taps: Tensor, kernel_size: int, site: Site) -> Tensor:
    """The same as a sum over shifted copies, one per tap."""
    y = torch.zeros_like(x)
    for tap, place in enumerate(offsets(kernel_size, site.domain)):
        y = y + taps[: x.shape[-1], tap] * shifted(x, place, site)
    return y


def convolved_last(seen: Tensor, taps: Tensor, kernel_size: int) -> Tensor:
    """The causal result of the last of the tokens seen `[B, S, C]`, `[B, 1, C]`."""
    newest_first = seen[:, -kernel_size:].flip(1)
    return (newest_first * taps[: seen.shape[-1], : newest_first.shape[1]].T).sum(1, keepdim=True)


def shifted(x: Tensor, place: Offset, site: Site) -> Tensor:
    """`[B, T, C]` whose token t is the token at t + place, zero beyond the edges."""
    shape = grid_of(site) if site.domain == "image" else x.shape[1:2]
    margin = max(map(abs, place))
    padded = F.pad(x.reshape(x.shape[0], *shape, x.shape[-1]), (0, 0) + 2 * len(shape) * (margin,))
    for axis, (edge, offset) in enumerate(zip(shape, place, strict=True), start=1):
        padded = padded.narrow(axis, margin + offset, edge)
    return padded.reshape(x.shape)


def visited(kernel_size: int, site: Site) -> int:
    """(token, tap) pairs that fall inside the edges."""
    edges = grid_of(site) if site.domain == "image" else (site.tokens,)
    if site.is_causal:
        return sum(min(kernel_size, t + 1) for t in range(site.tokens))
    half = kernel_size // 2
    return math.prod(sum(min(t, half) + min(edge - 1 - t, half) + 1 for t in range(edge)) for edge in edges)


def grid_of(site: Site) -> tuple[int, int]:
    """The grid of an image's tokens; `ArchError` without one."""
    if site.grid is None or math.prod(site.grid) != site.tokens:
        raise ArchError(f"a convolution on images needs a grid of {site.tokens} tokens, got {site.grid}")
    return site.grid


def _in_grid_order(taps: Tensor, width: int, kernel_size: int, domain: Domain) -> Tensor:
    places = offsets(kernel_size, domain)
    order = sorted(range(len(places)), key=places.__getitem__)
    return taps[:width, order]
