"""How long does a predictor take for a million archs, encoding included?

python -m analysis.studies.scoring_speed [space] [count]
"""

import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml

from nas.arch import Arch
from nas.predict.additive import Additive
from nas.predict.census import Census
from nas.predict.contract import PredictConfig
from nas.predict.features import PartFeatures
from nas.predict.learned import Corrected, correct
from nas.predict.parts import PartTimes
from nas.resources import ROOT
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, load_space, sample

REPEATS = 3
IMAGES = ImageShape(channels=1, height=28, width=28, classes=10)
TEXT = TokenShape(vocab=256, tokens=512, classes=256, is_causal=True)


def main(name: str = "vit_small", count: int = 1_000_000) -> None:
    values: dict[str, Any] = yaml.safe_load((ROOT / "search_spaces" / f"{name}.yaml").read_text())
    space, rng = load_space(values), random.Random(0)
    archs = [sample(space, rng) for _ in range(count)]
    shape = IMAGES if space.frame.domain == "image" else TEXT
    for correction in ("none", "ridge", "trees"):
        # a fresh predictor for each repeat, so that nothing was encoded before
        seconds = [timed(made(space, shape, correction), archs) for _ in range(REPEATS)]
        print(f"{name}, {count} archs, correction {correction}: {', '.join(f'{s:.2f}' for s in seconds)} CPU s")


def timed(predictor: Corrected, archs: Sequence[Arch]) -> float:
    start = time.thread_time()
    predictor.predict(archs)
    return time.thread_time() - start


def made(space: SearchSpace, shape: TaskShape, correction: Any) -> Corrected:
    """A predictor of made-up times: what it says does not matter for how long it takes."""
    census, rng = Census(space), random.Random(1)
    times = PartTimes.fit({part: 0.01 + rng.random() for part in census.parts}, PartFeatures.of(space, shape))
    additive = Additive.around(census, times, frozenset(space.operator_names()), timed=True)
    archs = [sample(space, rng) for _ in range(100)]
    wanted = additive.predict(archs) * np.random.default_rng(0).uniform(1.0, 1.3, len(archs))
    return correct(additive, archs, wanted, np.ones(len(archs), dtype=bool), PredictConfig(correction=correction))


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
