"""One description of who may look at whom in sparse softmax attention: key blocks per query block and a predicate."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas.errors import ConfigError

Predicate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """Key blocks listed per query block, narrowed by a predicate on token positions.

    A (query, key) pair is visible iff the key's block is listed for the query's block, the predicate holds and both
    positions are below `tokens`. A block that is listed twice counts once.

    Attributes:
        tokens: Sequence length T.
        block_size: Tokens per block; the last block may be short.
        lists: int64 `[B or 1, H or 1, query_blocks, max_key_blocks]`, padded with -1.
        predicate: Elementwise rule on absolute query and key positions, which arrive with five broadcastable axes
            `[B, H, blocks, queries, keys]` (a table per head thus has shape `[H, 1, 1, 1]`); None allows every pair.
        order: int64 `[T]`; blocks are runs of `order`, while the predicate still sees the original positions.
        gathered: Result of `gathered_mask`, kept by `precompute`.
        full: Result of `dense_mask`, kept by `precompute`.
    """

    tokens: int
    block_size: int
    lists: Tensor
    predicate: Predicate | None = None
    order: Tensor | None = None
    gathered: Tensor | None = None
    full: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.block_size < 1:
            raise ConfigError(f"tokens and block_size must be positive, got {self.tokens} and {self.block_size}.")
        if self.lists.dim() != 4 or self.lists.dtype != torch.int64 or self.lists.shape[2] != self.num_blocks:
            raise ConfigError(
                f"lists must be int64 [B or 1, H or 1, {self.num_blocks}, key_blocks], got {self.lists.dtype} "
                f"{tuple(self.lists.shape)}; one list per block of {self.block_size} tokens."
            )

    @property
    def num_blocks(self) -> int:
        """Blocks that cover the sequence."""
        return -(-self.tokens // self.block_size)

    @property
    def listed_share(self) -> float:
        """Width of the lists over the number of blocks: the cost of gathering relative to dense attention."""
        return self.lists.shape[3] / self.num_blocks

    def to(self, device: torch.device) -> "Visibility":
        """The same rule with its tables on `device`; tensors inside the predicate are the caller's."""

        def move(table: Tensor | None) -> Tensor | None:
            return None if table is None else table.to(device)

        lists, order = self.lists.to(device), move(self.order)
        return replace(self, lists=lists, order=order, gathered=move(self.gathered), full=move(self.full))


def from_predicate(tokens: int, block_size: int, predicate: Predicate, *, order: Tensor | None = None) -> Visibility:
    """The shortest static lists that cover a predicate, with the mask of the default executor computed.

    Evaluates one query block at a time, so memory is `block_size * tokens`. Build it once, outside `forward`.
    """
    num_blocks = -(-tokens // block_size)
    token, real = _token_table(tokens, block_size, order)
    keys = token.view(1, 1, 1, 1, -1)
    rows = []
    for query, valid in zip(token.view(-1, block_size), real.view(-1, block_size), strict=True):
        seen = predicate(query.view(1, 1, 1, -1, 1), keys) & valid.view(-1, 1) & real
        rows.append(seen.any(-2).view(1, -1, 1, num_blocks, block_size).any(-1))
    lists = _compact(torch.cat(rows, dim=2))
    return precompute(Visibility(tokens=tokens, block_size=block_size, lists=lists, predicate=predicate, order=order))


def precompute(visibility: Visibility) -> Visibility:
    """A copy that carries the mask of its default executor."""
    if prefers_gather(visibility):
        return replace(visibility, gathered=gathered_mask(visibility))
    return replace(visibility, full=dense_mask(visibility))


def prefers_gather(visibility: Visibility) -> bool:
    """Whether gathering the listed blocks beats a dense mask; depends on shapes only."""
    # forward + backward on one CPU thread: a causal window of 64 takes 15 ms gathered and 37 ms masked at 512 tokens,
    # 34 and 153 at 1024; at 128 tokens or with half of the blocks listed the mask is level or ahead. Grids in tile
    # order pay for the permutation and many small blocks: level at 32 x 32 with 9 of 64 tiles listed
    longest_masked = 128 if visibility.order is None else 1024
    return visibility.tokens > longest_masked and visibility.listed_share < 0.5


def unique_entries(lists: Tensor) -> Tensor:
    """True where a list entry names a block that no earlier entry of the same list names."""
    repeated = (lists.unsqueeze(-1) == lists.unsqueeze(-2)).tril(-1).any(-1)
    return (lists >= 0) & ~repeated


def gathered_mask(visibility: Visibility) -> Tensor:
    """Visibility of the gathered keys, bool `[B or 1, H or 1, blocks, block_size, key_blocks * block_size]`.

    Rows past the sequence end see everything: their outputs are cut off, and no row becomes empty by padding.
    """
    mask = _listed_pairs(visibility)
    _, real = _token_table(visibility.tokens, visibility.block_size, visibility.order, visibility.lists.device)
    return mask | ~real.view(-1, visibility.block_size, 1)


def dense_mask(visibility: Visibility) -> Tensor:
    """Visibility of every pair in original token order, bool `[B or 1, H or 1, T, T]`."""
    lists, device = visibility.lists, visibility.lists.device
    position = torch.arange(visibility.tokens, device=device)
    block = (position if visibility.order is None else visibility.order.argsort()) // visibility.block_size
    blocks = torch.arange(visibility.num_blocks, device=device)
    listed = (lists.unsqueeze(-1) == blocks).any(-2)
    mask = listed[:, :, block][..., block]
    if visibility.predicate is None:
        return mask
    return mask & visibility.predicate(position.view(1, 1, 1, -1, 1), position.view(1, 1, 1, 1, -1)).squeeze(2)


def pairs(visibility: Visibility) -> float:
    """Mean number of visible (query, key) pairs per head and sample."""
    mask = _listed_pairs(visibility)
    _, real = _token_table(visibility.tokens, visibility.block_size, visibility.order, visibility.lists.device)
    seen = mask & real.view(-1, visibility.block_size, 1)
    return float(seen.sum((-3, -2, -1)).double().mean())


def tile_order(height: int, width: int, tile: int) -> Tensor:
    """Row-major positions of a `height` x `width` grid in tile order: tiles row by row, row-major inside each."""
    row = torch.arange(height).repeat_interleave(width)
    column = torch.arange(width).repeat(height)
    tiles = (row // tile) * (-(-width // tile)) + column // tile
    return tiles.argsort(stable=True)


def _listed_pairs(visibility: Visibility) -> Tensor:
    """The defining rule on gathered keys, padded query rows unspecified."""
    lists, size = visibility.lists, visibility.block_size
    token, real = _token_table(visibility.tokens, size, visibility.order, lists.device)
    positions = lists.clamp_min(0).unsqueeze(-1) * size + torch.arange(size, device=lists.device)
    mask = (real[positions] & unique_entries(lists).unsqueeze(-1)).flatten(-2).unsqueeze(-2)
    if visibility.predicate is None:
        return mask.expand(*mask.shape[:-2], size, -1)
    return mask & visibility.predicate(token.view(1, 1, -1, size, 1), token[positions].flatten(-2).unsqueeze(-2))


def _token_table(
    tokens: int, block_size: int, order: Tensor | None, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Original token of every block position (clamped in the padding) and whether the position is real."""
    device = order.device if order is not None else device
    position = torch.arange(-(-tokens // block_size) * block_size, device=device)
    inside = position.clamp_max(tokens - 1)
    return (inside if order is None else order[inside]), position < tokens


def _compact(seen: Tensor) -> Tensor:
    """Lists `[1, H, blocks, longest]` of the True entries of `[1, H, blocks, blocks]`."""
    num_blocks = seen.shape[-1]
    index = torch.where(seen, torch.arange(num_blocks, device=seen.device), num_blocks).sort(-1).values
    longest = max(1, int(seen.sum(-1).max()))
    index = index[..., :longest]
    return index.masked_fill(index == num_blocks, -1)
