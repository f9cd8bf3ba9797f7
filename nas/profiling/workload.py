"""What a network is given when it is timed: batch, length or image size, and whether it reads a prompt or one token."""

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from nas.arch import Arch, BlockArch, FfnArch, OperatorArch, StageArch
from nas.errors import ConfigError
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace
from nas.space.space import Frame

Phase = Literal["prefill", "decode"]
REFERENCE_DIM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What rows must share to compare; `prefill` is a pass over all tokens, `decode` one token behind a cache."""

    frame: Frame
    shape: TaskShape
    batch: int = 1
    phase: Phase = "prefill"
    cache: int = 0
    """Tokens that the cache holds before the decoded one."""

    @property
    def digest(self) -> str:
        """Twelve hex digits of all fields but the frame's name."""
        content = repr(replace(self, frame=replace(self.frame, name="")))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def tokens(self) -> int:
        """Length of a token task, 0 for images."""
        return self.shape.tokens if isinstance(self.shape, TokenShape) else 0

    @property
    def image_size(self) -> int:
        """Height of an image task, 0 for tokens."""
        return self.shape.height if isinstance(self.shape, ImageShape) else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the digest with it."""
        return {**asdict(self), "digest": self.digest}

    def reference(self) -> Arch:
        """The net timed beside all others to show the machine's drift; the same for every space of this workload."""
        ffn = FfnArch("mlp", 2.0)
        heads = {"num_heads": 4, "num_kv_heads": 4, "head_dim": 16}
        softmax = BlockArch(OperatorArch.of("softmax", **heads), ffn)
        taps = BlockArch(OperatorArch.of("depthwise", kernel_size=3), ffn)
        return Arch(tuple(StageArch(REFERENCE_DIM, (softmax, taps)) for _ in self.frame.reductions))


def workload(
    space: SearchSpace,
    shape: TaskShape,
    *,
    batch: int = 1,
    tokens: int | None = None,
    image_size: int | None = None,
    phase: Phase = "prefill",
    cache: int | None = None,
) -> Workload:
    """The workload of a task's shape with the asked-for changes; `ConfigError` where one does not fit the task."""
    if phase == "prefill" and cache is not None:
        raise ConfigError(f"profile.cache is for phase 'decode', got {cache} with phase 'prefill': set profile.phase")
    if isinstance(shape, ImageShape):
        if tokens is not None or phase == "decode":
            raise ConfigError("profile.tokens and phase 'decode' are for token tasks, these are images: drop them")
        sized = replace(shape, height=image_size, width=image_size) if image_size else shape
        return Workload(frame=space.frame, shape=sized, batch=batch)
    if image_size is not None:
        raise ConfigError(f"profile.image_size is for images, got {image_size} for a token task: use profile.tokens")
    if phase == "decode":
        return _decode(space, shape, batch, tokens, cache)
    return Workload(frame=space.frame, shape=replace(shape, tokens=tokens or shape.tokens), batch=batch)


def _decode(space: SearchSpace, shape: TokenShape, batch: int, tokens: int | None, cache: int | None) -> Workload:
    if not shape.is_causal:
        raise ConfigError(f"phase 'decode' needs a causal task, got domain {shape.domain!r}: use profile.phase=prefill")
    length = cache if cache is not None else (tokens or shape.tokens) - 1
    if length < 1:
        raise ConfigError(f"profile.cache must hold at least 1 token, got {length}: raise it")
    room = replace(shape, tokens=max(tokens or 0, length + 1))
    return Workload(frame=space.frame, shape=room, batch=batch, phase="decode", cache=length)
