"""Where the blocks of a space sit when it meets a task: tokens, grid and width of every stage."""

from dataclasses import replace

from nas import operators
from nas.errors import ArchError
from nas.operators.contract import Site
from nas.shapes import ImageShape, TaskShape
from nas.space.space import Frame, SearchSpace, StageSpace
from nas.supernet.ffn import check_ffn


def sites(frame: Frame, shape: TaskShape) -> tuple[Site, ...]:
    """One site per stage, at width 0 and block 0; `ArchError` where the space does not fit the task."""
    if frame.domain != shape.domain:
        raise ArchError(
            f"space {frame.name!r} is for domain {frame.domain!r} and the data is {shape.domain!r}: "
            "choose search_spaces=… and data=… of one domain"
        )
    grid = _grid(frame, shape) if isinstance(shape, ImageShape) else None
    tokens = shape.tokens if grid is None and not isinstance(shape, ImageShape) else 0
    placed = []
    for reduction in frame.reductions:
        if grid is not None:
            grid = (_divide(grid[0], reduction), _divide(grid[1], reduction))
            tokens = grid[0] * grid[1]
        elif reduction > 1:
            tokens = _reduced(frame, tokens, reduction)
        placed.append(Site(embed_dim=0, tokens=tokens, domain=frame.domain, grid=grid))
    return tuple(placed)


def block_site(site: Site, embed_dim: int, index: int) -> Site:
    """The stage's site at this width and block."""
    return replace(site, embed_dim=embed_dim, index=index)


def check(space: SearchSpace, shape: TaskShape) -> None:
    """Raises `ArchError` if any choice of the space does not fit the task."""
    for stage, site in zip(space.stages, sites(space.frame, shape), strict=True):
        _check_stage(stage, site)


def _check_stage(stage: StageSpace, site: Site) -> None:
    for width in stage.embed_dims:
        placed = block_site(site, width, 0)
        for operator in dict.fromkeys(op for block in stage.blocks for op in block.operators):
            operators.get(operator.name).check(operators.parse(operator), placed)
        for ffn in dict.fromkeys(ffn for block in stage.blocks for ffn in block.ffns):
            check_ffn(ffn, width)


def _grid(frame: Frame, shape: ImageShape) -> tuple[int, int]:
    if frame.stem.patch < 1:
        raise ArchError(f"an image space needs stem.patch of at least 1, got {frame.stem.patch} in {frame.name!r}")
    return _divide(shape.height, frame.stem.patch), _divide(shape.width, frame.stem.patch)


def _divide(size: int, by: int) -> int:
    if size % by:
        raise ArchError(f"patch size and reductions must divide the grid: {by} does not divide {size}")
    return size // by


def _reduced(frame: Frame, tokens: int, reduction: int) -> int:
    if frame.domain == "causal":
        raise ArchError("merging tokens would leak the future: a causal space has reduction 1 in every stage")
    return _divide(tokens, reduction)
