"""Causal networks token by token: what earlier tokens left is a value that goes in and comes out with every step."""

from typing import Any, NamedTuple

from torch import Tensor

from nas.arch import Arch, BlockArch
from nas.errors import ArchError
from nas.operators.contract import Context
from nas.shapes import TokenShape
from nas.supernet.block import Block
from nas.supernet.model import Supernet
from nas.supernet.stem import TokenStem


class DecodeState(NamedTuple):
    """What a network keeps of the tokens so far; a pytree of tensors, None and one int."""

    tokens: int
    """How many there were, which is the position of the next one."""
    stem: Tensor | None
    """Embedded tokens that the stem's convolution still needs, `[B, <= conv - 1, C]`."""
    blocks: tuple[Any, ...]
    """Each operator's own state, in the order of `Arch.blocks`; None where a block mixes nothing."""


def start(arch: Arch) -> DecodeState:
    """The state before the first token."""
    return DecodeState(0, None, (None,) * len(arch.blocks))


def prefill(net: Supernet, tokens: Tensor, arch: Arch) -> DecodeState:
    """The state after the tokens `[B, T]`, T >= 1, from one pass; the same as from T calls of `step`.

    Raises:
        ArchError: If the network is not causal, or there is no token or a position too few.
    """
    stem = _stem(net, tokens.shape[1])
    if not tokens.shape[1]:
        raise ArchError(f"prefill needs at least one token, got {tuple(tokens.shape)}: begin with decode.start")
    states: list[Any] = []

    def visit(block: Block, x: Tensor, block_arch: BlockArch, context: Context) -> Tensor:
        y, state = block.prefill(x, block_arch, context)
        states.append(state)
        return y

    embed_dim = arch.stages[0].embed_dim
    net.through(stem(tokens, embed_dim), arch, visit, [])
    return DecodeState(tokens.shape[1], stem.prefill(tokens, embed_dim), tuple(states))


def step(net: Supernet, tokens: Tensor, arch: Arch, state: DecodeState) -> tuple[Tensor, DecodeState]:
    """Logits `[B, 1, classes]` of the next token `[B, 1]`, and the state after it; `state` itself stays as it was.

    Raises:
        ArchError: If the network is not causal, there is not exactly one token, or no position is left.
    """
    stem, before = _stem(net, state.tokens + 1), iter(state.blocks)
    if tokens.shape[1] != 1:
        raise ArchError(f"a step takes one token per sequence [B, 1], got {tuple(tokens.shape)}: use prefill for more")
    states: list[Any] = []

    def visit(block: Block, x: Tensor, block_arch: BlockArch, context: Context) -> Tensor:
        y, after = block.step(x, block_arch, context, next(before))
        states.append(after)
        return y

    x, stem_state = stem.step(tokens, arch.stages[0].embed_dim, state.tokens, state.stem)
    logits: Tensor = net.head(net.through(x, arch, visit, []))
    return logits, DecodeState(state.tokens + 1, stem_state, tuple(states))


def _stem(net: Supernet, tokens: int) -> TokenStem:
    """The stem of a network that can be decoded up to so many tokens."""
    stem, shape = net.stem, net.shape
    if not (isinstance(stem, TokenStem) and isinstance(shape, TokenShape) and shape.is_causal):
        raise ArchError(
            f"only a causal network decodes token by token, got one of domain {shape.domain!r}: "
            "use a space and data of domain 'causal'"
        )
    if tokens > shape.tokens:
        raise ArchError(
            f"a sequence has at most the {shape.tokens} tokens that the stem has positions for, got {tokens}: "
            "decode fewer, or build the network for a longer shape"
        )
    return stem
