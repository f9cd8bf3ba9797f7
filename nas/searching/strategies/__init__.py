"""Search strategies, one file each with a `Proposer`; the folder is the registry."""

import importlib
import pkgutil

from nas.errors import ConfigError
from nas.searching.strategies.contract import Strategy

__all__ = ["Strategy", "get", "known", "names"]


def names() -> tuple[str, ...]:
    """All strategies, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "contract"))


def known(name: str) -> str:
    """The name; `ConfigError` if no strategy has it."""
    if name not in names():
        raise ConfigError(f"a strategy must be one of {', '.join(names())}; got {name!r}")
    return name


def get(name: str) -> type[Strategy]:
    """The strategy's class; `ConfigError` for an unknown name."""
    proposer: type[Strategy] = importlib.import_module(f"{__name__}.{known(name)}").Proposer
    return proposer
