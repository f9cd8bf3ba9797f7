"""Search strategies, one file each with a `Proposer`; the folder is the registry."""

import importlib
import pkgutil

from nas.errors import ConfigError
from nas.searching.strategies.contract import Strategy

__all__ = ["Strategy", "get", "names"]


def names() -> tuple[str, ...]:
    """All strategies, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "contract"))


def get(name: str) -> type[Strategy]:
    """The strategy's class; `ConfigError` for an unknown name."""
    if name not in names():
        raise ConfigError(f"a strategy must be one of {', '.join(names())}; got {name!r}")
    proposer: type[Strategy] = importlib.import_module(f"{__name__}.{name}").Proposer
    return proposer
