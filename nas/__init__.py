"""Search for lightweight attention architectures.

`nas.search(space, objective, directions)` searches any space for any objective, `nas.load(folder)` gives back a network
that was exported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.export import load as load
    from nas.searching.call import search as search

__all__ = ["load", "search"]
HOMES = {"load": "nas.export", "search": "nas.searching.call"}


def __getattr__(name: str) -> Any:
    """What is public but needs large libraries, imported when first asked for."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
