"""One colour per family of operators, told apart by colour-blind readers (after Okabe and Ito, 2008)."""

from collections.abc import Mapping

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
LIGHT_TEXT = frozenset(("softmax",))


def colour(family: str) -> str:
    """The fill of a family."""
    return COLOURS.get(family, COLOURS[UNKNOWN])


def ink(family: str) -> str:
    """The text colour that reads well on it."""
    return "#ffffff" if family in LIGHT_TEXT else "#111111"
