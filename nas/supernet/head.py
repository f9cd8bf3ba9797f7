"""From a stage's tokens to logits: one linear map of their mean, or of what their channels have in common."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.elastic import Elastic, ElasticNorm
from nas.operators.contract import Cost, Site
from nas.shapes import ImageShape, TaskShape
from nas.space.space import Head


class MeanHead(nn.Module):
    """Logits: of the mean token for images `[B, classes]`, of every token for sequences `[B, T, classes]`.

    The mean is normalised, not the tokens: a token that stands out then counts for more than others.
    """

    def __init__(self, shape: TaskShape, embed_dim: int) -> None:
        super().__init__()
        self._pools, self._classes = isinstance(shape, ImageShape), shape.classes
        self.norm = ElasticNorm(embed_dim)
        self.out = Elastic((shape.classes,), (embed_dim,), bias=True)
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]` to logits."""
        logits: Tensor = self.out(self.norm(x.mean(1) if self._pools else x), self._classes)
        return logits


class GramianHead(nn.Module):
    """Logits of an image as the mean of several classifiers `[B, classes]`, each with a class token of its own.

    "Gramian Attention Heads are Strong yet Efficient Vision Learners" (2023), without the convolution in front and the
    loss that pushes the classifiers apart; their class attention has one head and shared maps.

        F_k = x W_k [B,T,r];  G_k = F_k^T F_k / T [B,r,r];  c_k = triangle(G_k) / |triangle(G_k)| U_k [B,C]
        y_k = c_k + softmax(c_k W_q [c_k, x]^T W_k^T / sqrt C) [c_k, x] W_v;  logits = mean_k(y_k V_k) + b
    """

    def __init__(self, head: Head, shape: ImageShape, embed_dim: int) -> None:
        super().__init__()
        self._rank, self._count = head.rank, head.count
        triangle = head.rank * (head.rank + 1) // 2
        self.norm = ElasticNorm(embed_dim)
        self.narrow = Elastic((head.count, head.rank), (embed_dim,))
        self.token = nn.Parameter(torch.randn(head.count, embed_dim, triangle) / math.sqrt(triangle))
        self.q, self.k, self.v = (Elastic((embed_dim,), (embed_dim,)) for _ in range(3))
        self.out = nn.Parameter(torch.randn(head.count, shape.classes, embed_dim) * 0.02)
        self.bias = nn.Parameter(torch.zeros(shape.classes))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]` to logits."""
        x, width = self.norm(x), x.shape[-1]
        token = self.class_tokens(x)
        keys, values = self.k(x, width), self.v(x, width)
        own_keys, own_values, q = self.k(token, width), self.v(token, width), self.q(token, width)
        scores = torch.cat(((q * own_keys).sum(-1, keepdim=True), q @ keys.transpose(1, 2)), dim=-1)
        weights = (scores / width**0.5).softmax(-1)
        y = token + weights[..., :1] * own_values + weights[..., 1:] @ values
        return torch.einsum("bkc,knc->bn", y, self.out[..., :width]) / self._count + self.bias

    def class_tokens(self, x: Tensor) -> Tensor:
        """c_k of the normalised tokens, `[B, K, C]`."""
        features: Tensor = self.narrow(x, self._count, self._rank).transpose(1, 2)
        gram = features.transpose(-1, -2) @ features / x.shape[1]
        rows, columns = torch.triu_indices(self._rank, self._rank, device=x.device)
        flat = F.normalize(gram[..., rows, columns], dim=-1)
        return torch.einsum("bkn,kcn->bkc", flat, self.token[:, : x.shape[-1]])


def new_head(head: Head, shape: TaskShape, embed_dim: int) -> MeanHead | GramianHead:
    """The head that the space asks for; a rank of 0 means the plain one."""
    return (
        GramianHead(head, shape, embed_dim)
        if head.rank and isinstance(shape, ImageShape)
        else MeanHead(shape, embed_dim)
    )


def head_cost(head: Head, shape: TaskShape, last: Site) -> Cost:
    """Cost of the head at the width of the last site."""
    width, classes, tokens = last.embed_dim, shape.classes, last.tokens
    if not head.rank:
        pooled = 1 if isinstance(shape, ImageShape) else tokens
        return Cost(params=(classes + 2) * width + classes, flops=2 * classes * width * pooled)
    triangle, count = head.rank * (head.rank + 1) // 2, head.count
    narrow, made, maps = count * head.rank * width, count * triangle * width, width**2
    mixed = count * head.rank**2 * tokens + 2 * count * tokens * width
    return Cost(
        params=2 * width + narrow + made + 3 * maps + (count * width + 1) * classes,
        flops=2 * (tokens * narrow + made + mixed + maps * (2 * tokens + 3 * count) + count * width * classes),
    )
