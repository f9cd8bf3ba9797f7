"""Gates on a mixer's output, one file each. The folder is the registry; `none` is the absence of one."""

import importlib
import pkgutil

from nas.arch import NONE
from nas.errors import ArchError
from nas.gates.contract import Gate


def names() -> tuple[str, ...]:
    """All gates, sorted, with `none`."""
    return tuple(sorted({NONE, *(m.name for m in pkgutil.iter_modules(__path__) if m.name != "contract")}))


def get(name: str) -> type[Gate]:
    """The gate's class, imported when first asked for."""
    if name not in names() or name == NONE:
        raise ArchError(f"a gate must be one of {', '.join(names())}; got {name!r}")
    gate: type[Gate] = importlib.import_module(f"{__name__}.{name}").Gate
    return gate
