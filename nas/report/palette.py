"""One colour and one letter per family of operators, told apart by colour-blind readers and in black and white.

Known families have fixed colours (after Okabe and Ito, 2008); a new one gets a spare colour by its name, so that it
keeps that colour in every report.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from nas import operators
from nas.report.stacks import MIXED, NO_MIXING, UNKNOWN

COLOURS: Mapping[str, str] = {
    "softmax": "#0072b2",
    "sparse": "#e69f00",
    "linear": "#009e73",
    "lowrank": "#cc79a7",
    "state": "#56b4e9",
    "hybrid": "#d55e00",
    "convolution": "#f0e442",
    "channel": "#b39ddb",
    MIXED: "#8a8f98",
    NO_MIXING: "#c9ced6",
    UNKNOWN: "#ffffff",
}
LETTERS: Mapping[str, str] = {
    "softmax": "S",
    "sparse": "P",
    "linear": "L",
    "lowrank": "R",
    "state": "T",
    "hybrid": "H",
    "convolution": "C",
    "channel": "N",
    MIXED: "M",
    NO_MIXING: "–",
    UNKNOWN: "?",
}
SPARE = ("#882255", "#88d18a", "#332288", "#e8a598", "#7a5c00", "#44c2b1", "#aa3377", "#c5b358")
DARK, LIGHT = "#111111", "#ffffff"


@dataclass(frozen=True, slots=True)
class Paint:
    """How a family is drawn: fill, the text colour that reads on it, and its letter."""

    family: str
    colour: str
    ink: str
    letter: str


def paint(family: str) -> Paint:
    """A family's paint; that of `unknown` for a name that this version has no operators of."""
    found = everything()
    return found.get(family, found[UNKNOWN])


def everything() -> Mapping[str, Paint]:
    """The paints of all families of this version, by name."""
    return _paints(frozenset(operators.families().values()))


def colour(family: str) -> str:
    """The fill of a family."""
    return paint(family).colour


def ink(family: str) -> str:
    """The text colour that reads well on it."""
    return paint(family).ink


def ordered(families: Iterable[str]) -> list[str]:
    """The families in the order of the legend: the known ones first, then new ones by name."""
    order = list(COLOURS)
    known = {name: i for i, name in enumerate(order)}
    return sorted(set(families), key=lambda name: (known.get(name, len(order)), name))


def assigned(families: Iterable[str]) -> dict[str, Paint]:
    """Paints of the fixed families and of these; no two share a colour as long as spare ones last, nor a letter."""
    colours, letters = dict(COLOURS), dict(LETTERS)
    for name in sorted(set(families) - COLOURS.keys()):
        colours[name] = _spare(name, frozenset(colours.values()))
        letters[name] = _letter(name, frozenset(letters.values()))
    return {name: Paint(name, fill, _ink(fill), letters[name]) for name, fill in colours.items()}


def contrast(one: str, other: str) -> float:
    """Contrast of two colours such as `#0072b2`, 1 to 21 (WCAG 2.2, relative luminance)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@lru_cache(maxsize=8)
def _paints(families: frozenset[str]) -> dict[str, Paint]:
    return assigned(families)


def _spare(name: str, taken: frozenset[str]) -> str:
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % len(SPARE)
    turned = SPARE[first:] + SPARE[:first]
    return next((fill for fill in turned if fill not in taken), turned[0])


def _letter(name: str, taken: frozenset[str]) -> str:
    own = [letter for letter in name.upper() if letter.isalpha()]
    return next((letter for letter in (*own, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ") if letter not in taken), "*")


def _ink(fill: str) -> str:
    return max((DARK, LIGHT), key=lambda text: contrast(fill, text))


def _luminance(text: str) -> float:
    parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
