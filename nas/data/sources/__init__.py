"""One file per source of data; each has `load(config) -> Dataset`."""
