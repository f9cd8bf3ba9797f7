"""The front of the network, and what lies between stages: inputs to tokens, a stage's tokens to the next stage's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, ElasticNorm
from nas.operators.contract import Cost, Site
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space.space import Stem


class PatchStem(nn.Module):
    """Square patches `[B, channels, H, W] -> [B, T, C]` by one linear map, plus learned positions."""

    def __init__(self, shape: ImageShape, stem: Stem, embed_dim: int, tokens: int) -> None:
        super().__init__()
        self._patch = stem.patch
        self.embed = Elastic((embed_dim,), (shape.channels, stem.patch, stem.patch), bias=True)
        self.position = nn.Parameter(torch.randn(tokens, embed_dim) * 0.5)

    def forward(self, x: Tensor, embed_dim: int) -> Tensor:
        """Patches in row-major order."""
        p = self._patch
        batch, channels, height, width = x.shape
        patches = x.reshape(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        tokens: Tensor = self.embed(patches.reshape(batch, -1, channels, p, p), embed_dim)
        return tokens + self.position[:, :embed_dim]


class TokenStem(nn.Module):
    """Token embedding `[B, T] -> [B, T, C]`, learned positions, and a short depthwise convolution over tokens.

    The convolution lets every operator see its neighbours, as in "Based" (2024); causal where the task is.
    """

    def __init__(self, shape: TokenShape, stem: Stem, embed_dim: int) -> None:
        super().__init__()
        self._is_causal = shape.is_causal
        self.embed = nn.Parameter(torch.randn(shape.vocab, embed_dim) * 0.5)
        self.position = nn.Parameter(torch.randn(shape.tokens, embed_dim) * 0.02)
        self.conv = nn.Parameter(torch.randn(stem.conv, embed_dim) / stem.conv**0.5) if stem.conv else None

    def forward(self, x: Tensor, embed_dim: int) -> Tensor:
        """Embedded tokens, shorter sequences than the built one included."""
        tokens = self._embedded(x, embed_dim)
        return tokens if self.conv is None else tokens + self._mix(tokens, self.conv[:, :embed_dim])

    def step(self, x: Tensor, embed_dim: int, position: int, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The token `[B, 1]` at the position as `[B, 1, C]`, and the state behind it; causal stems only.

        The state is the last conv - 1 tokens before their convolution `[B, <= conv - 1, C]`, None at the start or where
        there is no convolution.
        """
        token = self._embedded(x, embed_dim, position)
        if self.conv is None:
            return token, None
        seen = token if state is None else torch.cat((state, token), dim=1)
        taps = self.conv[-seen.shape[1] :, :embed_dim]
        return token + (seen * taps).sum(1, keepdim=True), seen[:, max(0, seen.shape[1] - self.conv.shape[0] + 1) :]

    def prefill(self, x: Tensor, embed_dim: int) -> Tensor | None:
        """The state that steps over the tokens `[B, T]` would leave."""
        if self.conv is None:
            return None
        first = max(0, x.shape[1] - self.conv.shape[0] + 1)
        return self._embedded(x[:, first:], embed_dim, first)

    def _embedded(self, x: Tensor, embed_dim: int, first: int = 0) -> Tensor:
        positions = self.position[first : first + x.shape[1], :embed_dim]
        return F.embedding(x, self.embed[:, :embed_dim]) + positions

    def _mix(self, x: Tensor, taps: Tensor) -> Tensor:
        length = taps.shape[0]
        left = length - 1 if self._is_causal else length // 2
        padded = F.pad(x, (0, 0, left, length - 1 - left))
        return torch.stack([padded[:, i : i + x.shape[1]] * taps[i] for i in range(length)]).sum(0)


class Transition(nn.Module):
    """Between stages: merges `reduction` tokens per axis and changes the width, `[B, T, C] -> [B, T / r^axes, C']`."""

    def __init__(self, embed_dims: tuple[int, int], reduction: int, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self._reduction, self._grid = reduction, grid
        merged = reduction if grid is None else reduction**2
        self.norm = ElasticNorm(embed_dims[0])
        self.merge = Elastic((embed_dims[1],), (merged, embed_dims[0]))

    def forward(self, x: Tensor, embed_dim: int) -> Tensor:
        """`grid` is the grid before merging."""
        r, (batch, tokens, width) = self._reduction, x.shape
        x = self.norm(x)
        if self._grid is None:
            merged: Tensor = self.merge(x.reshape(batch, tokens // r, r, width), embed_dim)
            return merged
        h, w = self._grid
        x = x.reshape(batch, h // r, r, w // r, r, width).permute(0, 1, 3, 2, 4, 5)
        merged = self.merge(x.reshape(batch, tokens // r**2, r * r, width), embed_dim)
        return merged


def example_inputs(shape: TaskShape, batch: int, seed: int) -> Tensor:
    """Inputs of a task's shape: normal floats `[B, channels, H, W]`, or ids below the vocabulary `[B, T]`."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(shape, ImageShape):
        return torch.randn(batch, shape.channels, shape.height, shape.width, generator=generator)
    return torch.randint(shape.vocab, (batch, shape.tokens), generator=generator)


def stem_cost(shape: TaskShape, stem: Stem, first: Site) -> Cost:
    """Cost of the stem at the width of the first site."""
    if isinstance(shape, ImageShape):
        patch = shape.channels * stem.patch**2
        tokens = (shape.height // stem.patch) * (shape.width // stem.patch)
        return Cost(params=(patch + 1 + tokens) * first.embed_dim, flops=2 * patch * first.embed_dim * tokens)
    return Cost(params=(shape.vocab + shape.tokens + stem.conv) * first.embed_dim)


def transition_cost(before: Site, after: Site) -> Cost:
    """Norm and merging map."""
    merged = before.tokens // after.tokens
    weights = merged * before.embed_dim * after.embed_dim
    return Cost(params=weights + 2 * before.embed_dim, flops=2 * weights * after.tokens)
