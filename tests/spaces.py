"""Spaces and task shapes that several tests share."""

from typing import Any

import yaml

from nas.resources import ROOT
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, load_space

DIGITS = ImageShape(channels=1, height=8, width=8, classes=10)
FASHION = ImageShape(channels=1, height=28, width=28, classes=10)
TEXT = TokenShape(vocab=256, tokens=80, classes=256)
RECALL = TokenShape(vocab=64, tokens=64, classes=64)

SHAPES: dict[str, TaskShape] = {
    "digits_tiny": DIGITS,
    "image_pyramid": FASHION,
    "image_small": FASHION,
    "lm_tiny": TEXT,
    "long_context": TEXT,
    "text_small": TEXT,
    "lm_short": TEXT,
    "lm_small": TEXT,
    "lm_table": TEXT,
    "recall_short": RECALL,
    "recall_small": RECALL,
    "vit_small": FASHION,
    "vit_tiny": FASHION,
    "pyramid_small": FASHION,
}


def raw(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / f"{name}.yaml").read_text())
    return values


def shipped(name: str) -> SearchSpace:
    return load_space(raw(name))


def names() -> list[str]:
    return sorted(path.stem for path in (ROOT / "search_spaces").glob("*.yaml"))
