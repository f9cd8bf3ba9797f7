"""Data sources; the folder `nas/data/sources` is the registry, one file per source with a `load(config)`."""

import importlib
import pkgutil

from nas.data import sources
from nas.data.contract import DataConfig, Dataset, Examples
from nas.errors import ConfigError

__all__ = ["DataConfig", "Dataset", "Examples", "load", "names"]


def names() -> tuple[str, ...]:
    """The names of all sources, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(sources.__path__)))


def load(config: DataConfig) -> Dataset:
    """The splits of the source `config.name`; `ConfigError` for an unknown name, `DataError` for unusable data."""
    if config.name not in names():
        raise ConfigError(f"data.name must be one of {', '.join(names())}, got {config.name!r}")
    module = importlib.import_module(f"{sources.__name__}.{config.name}")
    dataset: Dataset = module.load(config)
    return dataset
