"""A small plot and long lines as a terminal shows them: as wide as it is, or plain where there is none."""

import itertools
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 76, 16
"""Of a plot where nobody says how wide the terminal is."""
NARROWEST, WIDEST = 30, 110
Places = Sequence[tuple[float, float]]


def fitted(text: str, width: int | None) -> str:
    """The text with lines that are too long cut; unchanged without a width."""
    if width is None:
        return text
    return "\n".join(line if len(line) <= width else f"{line[: max(0, width - 1)]}…" for line in text.splitlines())


def plot(marks: Mapping[str, Places], across: str, width: int | None = None) -> str:
    """Places by their mark, later marks over earlier ones, with the ends of both axes; `across` is the unit of x."""
    (left, right), (low, high) = (_range(axis) for axis in zip(*itertools.chain(*marks.values()), strict=True))
    names = [f"{high:.4g}", *[""] * (HEIGHT - 2), f"{low:.4g}"]
    margin = max(map(len, names))
    wide = min(WIDEST, max(NARROWEST, (width or WIDTH) - margin - 3))
    grid = [[" "] * wide for _ in range(HEIGHT)]
    for mark, places in marks.items():
        for x, y in places:
            row, column = (high - y) / (high - low), (x - left) / (right - left)
            grid[round(row * (HEIGHT - 1))][round(column * (wide - 1))] = mark
    lines = [f"{name:>{margin}} │{''.join(row)}".rstrip() for name, row in zip(names, grid, strict=True)]
    first = f"{left:.3g}"
    ends = f"{first}{f'{right:.3g} {across}':>{wide - len(first)}}"
    return "\n".join([*lines, f"{'':>{margin}} └{'─' * wide}", f"{'':>{margin}}  {ends}"])


def stairs(places: Places, *, is_less: bool) -> Places:
    """Those of the places that no other is left of and better than, from the left."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], place[1] if is_less else -place[1])):
        if not found or (y < found[-1][1] if is_less else y > found[-1][1]):
            found.append((x, y))
    return found


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
