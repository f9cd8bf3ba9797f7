"""Images on a larger blank canvas, each at a place of its own: what is in them then has to be found first.

The translated digits of "Recurrent Models of Visual Attention" (2014), for images of any source.
"""

import torch
from torch import Tensor

from nas.errors import ConfigError


def placed(images: Tensor, side: int, *, seed: int) -> Tensor:
    """Images `[N, channels, H, W]` on black canvases `[N, channels, side, side]`, at places fixed by the seed."""
    count, channels, height, width = images.shape
    if side < max(height, width):
        raise ConfigError(
            f"data.canvas is the side of the canvas that images are placed on, in pixels: {side} is below their "
            f"{height} x {width}; use {max(height, width) + 4} or more, or null for none"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(side - height + 1, (count,), generator=generator)
    columns = torch.randint(side - width + 1, (count,), generator=generator)
    canvas = images.new_zeros(count, channels, side, side)
    for row in range(side - height + 1):
        for column in range(side - width + 1):
            here = (rows == row) & (columns == column)
            canvas[here, :, row : row + height, column : column + width] = images[here]
    return canvas
