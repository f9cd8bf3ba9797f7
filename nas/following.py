"""Giving the rows of a growing log to whoever looks on, beside the process that writes it and never in its way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nas.journal import Row
from nas.progress import say, watching
from nas.untrusted import Tail

EVERY_S = 5.0
Taker = Callable[[Sequence[Row]], None]


@contextmanager
def following(root: Path, name: str, takers: Mapping[str, Taker], every_s: float = EVERY_S) -> Iterator[None]:
    """Gives the rows of the log `name` below `root` to each taker, from the first on; at the end all have been given.

    A taker that fails is let go with a word: no search ends because of who looks on.
    """
    if not takers:
        yield
        return
    tail, left = Tail(root, name), dict(takers)

    def look() -> None:
        while rows := tail.more():
            for what, take in list(left.items()):
                try:
                    take(rows)
                except Exception as error:  # noqa: BLE001 (whatever a package of others raises)
                    say(f"{what}: {type(error).__name__}: {error}; nothing more is written there")
                    del left[what]

    with watching(look, every_s):
        yield
