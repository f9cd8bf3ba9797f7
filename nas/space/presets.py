"""Hand-made architectures to compare with, from the files of `search_spaces/presets/`."""

import itertools
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import yaml

from nas.arch import Arch
from nas.config import load
from nas.errors import ArchError, ConfigError
from nas.resources import PRESETS
from nas.space.pattern import Preset, Size, resolve
from nas.space.space import SearchSpace


@lru_cache(maxsize=1)
def presets() -> Mapping[str, Preset]:
    """Every preset by name, sorted; `ConfigError` names the file with a mistake."""
    found = map(_read, sorted(PRESETS.glob("*.yaml")))
    return MappingProxyType({preset.name: preset for preset in found})


def references(space: SearchSpace) -> dict[str, Arch]:
    """The archs of all presets that the space can express; several names may stand for one arch in a small space."""
    return _tried(space)[0]


def unfit(space: SearchSpace) -> dict[str, str]:
    """The other presets, and what the space lacks for each."""
    return _tried(space)[1]


def preset(space: SearchSpace, name: str) -> Arch:
    """The preset's arch of this space; `ArchError` lists those that the space has, and why it has no others."""
    found, lacking = _tried(space)
    if name in found:
        return found[name]
    others = "; ".join(f"{each}: {reason}" for each, reason in lacking.items())
    raise ArchError(
        f"the presets of space {space.frame.name!r} are {', '.join(found) or 'none'}; got {name!r}. It has no {others}"
    )


def scaled(space: SearchSpace, name: str) -> list[Arch]:
    """The preset at every width, depth and FFN ratio of the space up to its own, largest first, each arch once.

    Stages shrink together: each takes the choice nearest to the same share of its own.
    """
    whole = preset(space, name)
    widths = {width / stage.embed_dims[-1] for stage in space.stages for width in stage.embed_dims}
    depths = {depth / stage.depths[-1] for stage in space.stages for depth in stage.depths}
    lower = range(max(len(block.ffns) for stage in space.stages for block in stage.blocks))
    sizes = itertools.starmap(Size, itertools.product(_descending(widths), _descending(depths), lower))
    return list(dict.fromkeys([whole, *(resolve(space, presets()[name], size) for size in sizes)]))


def _read(path: Path) -> Preset:
    try:
        return load(Preset, yaml.safe_load(path.read_text()))
    except (ConfigError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _tried(space: SearchSpace) -> tuple[dict[str, Arch], dict[str, str]]:
    """The archs of the presets that fit, and what the space lacks for the others."""
    found, lacking = {}, {}
    for name, each in presets().items():
        try:
            found[name] = resolve(space, each)
        except ArchError as error:
            lacking[name] = str(error)
    return found, lacking


def _descending(values: set[float]) -> list[float]:
    return sorted(values, reverse=True)
