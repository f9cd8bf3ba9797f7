"""Kinds of token mixing, one file each in the folder of its family. The folders are the registry.

Files beside the folders are what operators share and no operators themselves: `contract`, `pattern` and `recurrence`
for most, `key_selection`, `chosen_blocks`, `head_kinds` and `sparse_linear` for sparse ones, `taps` for convolutions,
`offset_bias` and `rotary` for places.
"""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from nas.arch import OperatorArch
from nas.errors import ArchError
from nas.operators.contract import Operator


@lru_cache(maxsize=1)
def families() -> MappingProxyType[str, str]:
    """Operator name -> family, by looking at the folders; nothing is imported but their empty packages."""
    found = {}
    for folder in pkgutil.iter_modules(__path__):
        if folder.ispkg:
            package = importlib.import_module(f"{__name__}.{folder.name}")
            found.update({module.name: folder.name for module in pkgutil.iter_modules(package.__path__)})
    return MappingProxyType(found)


def names() -> tuple[str, ...]:
    """All operators, sorted."""
    return tuple(sorted(families()))


def get(name: str) -> type[Operator[Any]]:
    """The operator's class, imported when first asked for."""
    if name not in families():
        near = difflib.get_close_matches(name, names(), 1)
        meant = f": did you mean {near[0]!r}?" if near else ""
        raise ArchError(f"an operator must be one of {', '.join(names())}; got {name!r}{meant}")
    mixer: type[Operator[Any]] = importlib.import_module(f"{__name__}.{families()[name]}.{name}").Mixer
    return mixer


def knob_names(name: str) -> tuple[str, ...]:
    """The operator's knobs."""
    return tuple(field.name for field in dataclasses.fields(get(name).knobs_type))


@lru_cache(maxsize=65536)
def parse(operator: OperatorArch) -> Any:
    """The operator's knobs with their types and rules checked; `ArchError` names what is wrong."""
    knobs, known = dict(operator.knobs), knob_names(operator.name)
    if set(knobs) != set(known):
        wrong = ", ".join(sorted(set(knobs) ^ set(known)))
        raise ArchError(f"operator {operator.name!r} has the knobs ({', '.join(known)}); unknown or missing: {wrong}")
    return get(operator.name).knobs_type(**knobs)


def publisher(names: frozenset[str], earlier: Sequence[OperatorArch]) -> OperatorArch | None:
    """The operator whose tensors of these names a later block reads; None unless one operator published them all."""
    for operator in reversed(earlier):
        if found := get(operator.name).publishes & names:
            return operator if found == names else None
    return None
