"""Coordinate attention: a factor per row and one per column of every channel, from means along the other axis.

"Coordinate Attention for Efficient Mobile Network Design" (2021); the spatial half of "A Spatial-Frequency Aware
Multi-Scale Fusion Network for Real-Time Deepfake Detection" (2025). Biases take the place of the batch norm.

    z = hardswish(W_1 [mean over columns; mean over rows] + b_1) [B,H+W,C/r] with r = 32
    out = y * sigmoid(W_h z_rows + b_h) [B,H,1,C] * sigmoid(W_w z_columns + b_w) [B,1,W,C]
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.elastic import Elastic
from nas.gates import contract
from nas.gates.squeeze_excitation import hidden_width
from nas.operators.contract import Context, Cost, Site

REDUCTION = 32


class Gate(contract.Gate):
    """One shared reduction, then a map for the rows and one for the columns."""

    domains = frozenset(("image",))

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        hidden = hidden_width(site.embed_dim, REDUCTION)
        self.reduce = Elastic((hidden,), (site.embed_dim,), bias=True)
        self.rows = Elastic((site.embed_dim,), (hidden,), bias=True)
        self.columns = Elastic((site.embed_dim,), (hidden,), bias=True)

    def forward(self, y: Tensor, context: Context) -> Tensor:
        """`[B, T, C] -> [B, T, C]`."""
        height, width = contract.grid_of(context.site, "coordinate")
        embed_dim = y.shape[-1]
        places = y.reshape(y.shape[0], height, width, embed_dim)
        pooled = torch.cat((places.mean(2), places.mean(1)), dim=1)
        reduced = F.hardswish(self.reduce(pooled, hidden_width(embed_dim, REDUCTION)))
        rows: Tensor = self.rows(reduced[:, :height], embed_dim)
        columns: Tensor = self.columns(reduced[:, height:], embed_dim)
        return (places * rows.sigmoid().unsqueeze(2) * columns.sigmoid().unsqueeze(1)).reshape(y.shape)

    @classmethod
    def cost(cls, site: Site) -> Cost:
        """The maps run once per row and once per column."""
        lines = sum(contract.grid_of(site, "coordinate"))
        hidden, width = hidden_width(site.embed_dim, REDUCTION), site.embed_dim
        return Cost(params=3 * hidden * width + hidden + 2 * width, flops=4 * hidden * width * lines)
