"""Runtimes that networks are timed on, one file each. The folder is the registry; `contract` is what they share."""

import importlib
import pkgutil

from nas.errors import ConfigError
from nas.profiling.runtimes.contract import Facts, Runtime, Setup

__all__ = ["Facts", "Runtime", "Setup", "get", "names"]


def names() -> tuple[str, ...]:
    """All runtimes, sorted, installed or not."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "contract"))


def get(name: str) -> type[Runtime]:
    """The runtime's class, imported when first asked for."""
    if name not in names():
        raise ConfigError(f"profile.runtime must be one of {', '.join(names())}; got {name!r}")
    found: type[Runtime] = importlib.import_module(f"{__name__}.{name}").Engine
    return found
