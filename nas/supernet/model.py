"""The supernet: every arch of a space on shared weights, the active one an argument of `forward`."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar, cast

import torch
from torch import Tensor, nn

from nas.arch import Arch, BlockArch, StageArch
from nas.errors import ArchError
from nas.operators.contract import Context, Site
from nas.shapes import ImageShape, TaskShape
from nas.space.space import SearchSpace
from nas.supernet import layout
from nas.supernet.block import OWN, Block, Sharing
from nas.supernet.head import new_head
from nas.supernet.stem import PatchStem, TokenStem, Transition

M = TypeVar("M", bound=nn.Module)
Visit = Callable[[Block, Tensor, BlockArch, Context], Tensor]


class Supernet(nn.Module):
    """Built from a space and a task's shape; nothing on it says which arch is active, so threads and calls never mix.

    A standalone network is the same class built from a space of one arch.
    """

    def __init__(self, space: SearchSpace, shape: TaskShape, *, sharing: Sharing = OWN) -> None:
        super().__init__()
        layout.check(space, shape)
        self.space, self.shape, self.sharing = space, shape, sharing
        self._sites = layout.sites(space.frame, shape)
        widths = [stage.embed_dims[-1] for stage in space.stages]
        self.stem = _stem(space, shape, widths[0], self._sites[0].tokens)
        self.stages = nn.ModuleList(self._blocks())
        self.transitions = nn.ModuleList(
            Transition((a, b), space.frame.reductions[i + 1], self._sites[i].grid)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.head = new_head(space.frame.head, shape, widths[-1])

    def _blocks(self) -> list[nn.ModuleList]:
        stages = []
        for stage, site in zip(self.space.stages, self._sites, strict=True):
            placed = (layout.block_site(site, stage.embed_dims[-1], j) for j in range(len(stage.blocks)))
            stages.append(nn.ModuleList(map(Block, stage.blocks, placed, itertools.repeat(self.sharing))))
        return stages

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        """Logits of the subnet: `[B, classes]` for images, `[B, T, classes]` for tokens."""
        return self.run(x, arch)[0]

    def run(self, x: Tensor, arch: Arch) -> tuple[Tensor, Tensor]:
        """Logits, and the sum of the operators' own training losses (0 if none has one)."""
        penalties: list[Tensor] = []
        x = self.through(self.stem(x, arch.stages[0].embed_dim), arch, _whole, penalties)
        return self.head(x), torch.stack(penalties).sum() if penalties else x.new_zeros(())

    def through(self, x: Tensor, arch: Arch, visit: Visit, penalties: list[Tensor]) -> Tensor:
        """The stem's tokens to those in front of the head, through each block of the arch as `visit` runs it."""
        for i, (stage, _) in enumerate(zip(arch.stages, self.stages, strict=True)):
            x = self.enter(x, i, stage.embed_dim)
            published: dict[str, Tensor] = {}
            for block, block_arch, here in self.placed(i, stage):
                x = visit(block, x, block_arch, Context(here, published, penalties))
        return x

    def enter(self, x: Tensor, stage: int, embed_dim: int) -> Tensor:
        """The tokens that the stage before left, as this stage takes them; the first takes the stem's as they are."""
        return cast(Tensor, self.transitions[stage - 1](x, embed_dim)) if stage else x

    def placed(self, stage: int, arch: StageArch) -> Iterator[tuple[Block, BlockArch, Site]]:
        """The blocks of a stage that the arch has, what they are in it, and where they sit."""
        blocks = cast(nn.ModuleList, self.stages[stage])
        for j, (block, block_arch) in enumerate(zip(blocks, arch.blocks, strict=False)):
            yield cast(Block, block), block_arch, layout.block_site(self._sites[stage], arch.embed_dim, j)

    @torch.no_grad()
    def start_gains(self, value: float) -> None:
        """Sets the gains of all residual branches that are trained."""
        for stage in self.stages:
            for block in cast(nn.ModuleList, stage):
                for gain in cast(Block, block).gains():
                    gain.fill_(value)

    def narrowed(self, arch: Arch) -> Self:
        """A network of the arch alone, with fresh weights."""
        if arch not in self.space:
            raise ArchError(f"arch {arch.digest} is not in space {self.space.frame.name!r}: use an arch of this space")
        return type(self)(self.space.only(arch), self.shape, sharing=self.sharing)


class Subnet(nn.Module):
    """A network and an arch as one plain module `f(x)`."""

    def __init__(self, net: Supernet, arch: Arch) -> None:
        super().__init__()
        self.net, self.arch = net, arch

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.net(x, self.arch)
        return out


def extract(net: Supernet, arch: Arch) -> Subnet:
    """The subnet as a network of its own: every parameter is the leading corner of the supernet's of the same name."""
    return Subnet(fill(net.narrowed(arch), net).train(net.training), arch)


def fill(small: M, big: nn.Module) -> M:
    """The smaller module, its parameters set to the leading corners of the larger one's of the same names."""
    values = big.state_dict()
    corners = {name: values[name][tuple(map(slice, value.shape))] for name, value in small.state_dict().items()}
    small.load_state_dict(corners)
    return small


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in eval mode, as before afterwards."""
    before = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(before)


def _whole(block: Block, x: Tensor, arch: BlockArch, context: Context) -> Tensor:
    y: Tensor = block(x, arch, context)
    return y


def _stem(space: SearchSpace, shape: TaskShape, embed_dim: int, tokens: int) -> PatchStem | TokenStem:
    if isinstance(shape, ImageShape):
        return PatchStem(shape, space.frame.stem, embed_dim, tokens * space.frame.reductions[0] ** 2)
    return TokenStem(shape, space.frame.stem, embed_dim)
