"""All allowed points: loading, drawing, varying and describing them."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import ArchError
from nas.space.archs import ArchSpace
from nas.space.choices import ChoiceSpace, Pick
from nas.space.contract import Point, Space
from nas.space.encode import Encoder
from nas.space.listed import ListedSpace
from nas.space.load import SpaceConfig, load_space
from nas.space.presets import preset, references, scaled
from nas.space.sample import sample, stratified
from nas.space.space import BlockSpace, Frame, SearchSpace, StageSpace, Stem
from nas.space.vary import crossover, mutate

__all__ = [
    "ArchSpace",
    "BlockSpace",
    "ChoiceSpace",
    "Encoder",
    "Frame",
    "ListedSpace",
    "Pick",
    "Point",
    "SearchSpace",
    "Space",
    "SpaceConfig",
    "StageSpace",
    "Stem",
    "as_space",
    "crossover",
    "load_space",
    "mutate",
    "preset",
    "references",
    "sample",
    "scaled",
    "stratified",
]


def as_space(value: Any) -> Space:
    """The space that a value stands for; `ArchError` if it stands for none.

    A `Space` or `SearchSpace`; the content of a space file; a mapping of names to choices; or a list of mappings, which
    are then the only points.
    """
    if isinstance(value, Space):
        return value
    if isinstance(value, SearchSpace):
        return ArchSpace(value)
    if isinstance(value, Mapping):
        return ArchSpace(load_space(value)) if {"domain", "stages"} <= set(value) else ChoiceSpace(value)
    if isinstance(value, Sequence) and value and all(isinstance(row, Mapping) for row in value):
        return _listed(value)
    raise ArchError(
        "a space is a SearchSpace, the content of a space file, names with their choices, or a list of mappings with "
        f"equal names; got {type(value).__name__}"
    )


def _listed(rows: Sequence[Mapping[str, Any]]) -> ListedSpace:
    names = list(rows[0])
    if wrong := next((row for row in rows if set(row) != set(names)), None):
        raise ArchError(f"all listed points need the names {', '.join(names)}; got one with {', '.join(wrong)}")
    choices = ChoiceSpace({name: list(dict.fromkeys(row[name] for row in rows)) for name in names})
    return ListedSpace(choices, [choices.point(row) for row in rows])
