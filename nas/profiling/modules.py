"""Parts and steps of a network as plain modules `f(*tensors)`, which is all that a runtime knows."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nas.arch import Arch, BlockArch
from nas.operators.contract import Context, Site
from nas.profiling.program import Tensors
from nas.supernet import Supernet, decode
from nas.supernet.block import Block
from nas.supernet.stem import TokenStem


class Piece(nn.Module):
    """A part of a network with what it is told beside the tokens."""

    def __init__(self, module: nn.Module, *told: Any) -> None:
        super().__init__()
        self.module, self._told = module, told

    def forward(self, x: Tensor) -> Any:
        """The part's output."""
        return self.module(x, *self._told)


@dataclass(frozen=True, slots=True)
class Packing:
    """The form of a decoding state whose tensors travel as inputs; whatever else it holds stays here."""

    spec: pytree.TreeSpec
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, state: Any) -> tuple[Self, Tensors]:
        """The form, and the tensors in order."""
        leaves, spec = pytree.tree_flatten(state)
        rest = tuple(None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves)
        return cls(spec, rest), tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    def state(self, tensors: Tensors) -> Any:
        """The state again."""
        given = iter(tensors)
        return pytree.tree_unflatten([next(given) if leaf is None else leaf[0] for leaf in self.rest], self.spec)


class NetStep(nn.Module):
    """One decoded token of a network: `(token [B, 1], *state)` to `(logits, *state)`."""

    def __init__(self, net: Supernet, arch: Arch, packing: Packing) -> None:
        super().__init__()
        self.net, self._arch, self._packing = net, arch, packing

    def forward(self, token: Tensor, *tensors: Tensor) -> Any:
        """Logits `[B, 1, classes]` and the tensors of the new state."""
        return tensors_of(decode.step(self.net, token, self._arch, self._packing.state(tensors)))


class StemStep(nn.Module):
    """The stem's part of a decoded token."""

    def __init__(self, stem: TokenStem, embed_dim: int, position: int, packing: Packing) -> None:
        super().__init__()
        self.stem, self._embed_dim, self._position, self._packing = stem, embed_dim, position, packing

    def forward(self, token: Tensor, *tensors: Tensor) -> Any:
        """The embedded token `[B, 1, C]` and the new state."""
        return tensors_of(self.stem.step(token, self._embed_dim, self._position, self._packing.state(tensors)))


class BlockPass(nn.Module):
    """A block behind others: what they published comes in with the tokens, so that the block alone is timed."""

    def __init__(self, block: Block, arch: BlockArch, site: Site, names: tuple[str, ...]) -> None:
        super().__init__()
        self.block, self._arch, self._site, self._names = block, arch, site, names

    def forward(self, x: Tensor, *published: Tensor) -> Any:
        """`[B, T, C]` to the same."""
        return self.block(x, self._arch, Context(self._site, dict(zip(self._names, published, strict=True))))


class BlockStep(nn.Module):
    """A block's part of a decoded token: `(x [B, 1, C], *published, *state)` to `(y, *state)`."""

    def __init__(self, block: Block, arch: BlockArch, site: Site, names: tuple[str, ...], packing: Packing) -> None:
        super().__init__()
        self.block, self._arch, self._site, self._names, self._packing = block, arch, site, names, packing

    def forward(self, x: Tensor, *tensors: Tensor) -> Any:
        """One token and the tensors of the new state."""
        published = dict(zip(self._names, tensors, strict=False))
        state = self._packing.state(tensors[len(self._names) :])
        return tensors_of(self.block.step(x, self._arch, Context(self._site, published), state))


def tensors_of(value: Any) -> Tensors:
    """The tensors of a nested value, in order."""
    return tuple(leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))
