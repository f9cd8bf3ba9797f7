"""What a task feeds into a network and expects out of it, in sizes; no torch."""

from dataclasses import dataclass
from typing import Any, Literal

Domain = Literal["image", "sequence", "causal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShape:
    """Images `[B, channels, height, width]` in, class logits `[B, classes]` out."""

    channels: int
    height: int
    width: int
    classes: int

    @property
    def domain(self) -> Domain:
        """Bidirectional attention over a grid of patches."""
        return "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenShape:
    """Token ids `[B, tokens]` in, logits per position `[B, tokens, classes]` out, attention causal or not."""

    vocab: int
    tokens: int
    classes: int
    is_causal: bool = True

    @property
    def domain(self) -> Domain:
        """Causal, or bidirectional over a sequence."""
        return "causal" if self.is_causal else "sequence"


TaskShape = ImageShape | TokenShape


def shape_from_dict(data: dict[str, Any]) -> TaskShape:
    """The shape that `dataclasses.asdict` wrote."""
    return TokenShape(**data) if "vocab" in data else ImageShape(**data)
