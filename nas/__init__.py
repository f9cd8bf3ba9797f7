"""Search for lightweight attention architectures: `nas.load(folder)` gives back an exported network."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.export import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """What is public but needs torch, imported when first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("nas.export"), name)
