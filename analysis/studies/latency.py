"""How far off is the latency predictor? Profiles a space on this machine, fits, and prints the error card.

    python -m analysis.studies.latency SPACE FOLDER [setting=value ...] [--base SETTINGS]

SPACE is a file of `search_spaces/` for images of 28 x 28 or texts of 512 bytes; FOLDER keeps the tables, and a second
call goes on where the first stopped. Settings are those of `profile`, such as `minutes=5 runtime=onnxruntime
held_out_nets=200`. Weights are random: time does not depend on them.

With `--base "threads=1"` the predictor of that earlier table of FOLDER (its settings, comma-separated) is carried to
the new settings by ten nets, and judged on the held-out ones.
"""

import argparse
import random
from collections.abc import Sequence
from typing import Any

import torch
import yaml

from nas.arch import Arch
from nas.config import load
from nas.predict import ErrorCard, choose, fit_predictor, plan_transfer, transfer
from nas.profiling import ProfileConfig, Row, profile, profiled
from nas.resources import ROOT
from nas.run import Run
from nas.shapes import ImageShape, TaskShape, TokenShape
from nas.space import SearchSpace, load_space, sample
from nas.supernet import Supernet

IMAGES = ImageShape(channels=1, height=28, width=28, classes=10)
TEXTS = TokenShape(vocab=256, tokens=512, classes=256)
NETS, CANDIDATES = 10, 500


def settings(words: Sequence[str]) -> ProfileConfig:
    """The profile's settings of `name=value` words."""
    pairs = (word.partition("=") for word in words)
    return load(ProfileConfig, {name: yaml.safe_load(value) for name, _, value in pairs})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("folder")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--base", default=None)
    asked = parser.parse_args()
    space = load_space(yaml.safe_load((ROOT / "search_spaces" / f"{asked.space}.yaml").read_text()))
    shape: TaskShape = IMAGES if space.frame.domain == "image" else TEXTS
    torch.manual_seed(0)
    net, run, config = Supernet(space, shape), Run.at(f"{asked.folder}/{asked.space}"), settings(asked.settings)
    judge = _fitted if asked.base is None else _carried
    print(judge(net, run, config, **({} if asked.base is None else {"base": asked.base})).text())


def _fitted(net: Supernet, run: Run, config: ProfileConfig) -> ErrorCard:
    space, shape = net.space, config.workload(net.space, net.shape).shape

    def chosen(rows: Sequence[Row], candidates: Sequence[Arch], count: int) -> Sequence[Arch]:
        return choose(rows, space, shape, candidates, count)

    rows = profile(net, config, run, 0, choose=chosen)
    spent = sum(row.seconds for row in rows if row.split not in ("held_out", "repeat"))
    loads = [row.foreign_load for row in rows if row.foreign_load is not None]
    print(f"{spent / 60:.1f} minutes for the fit; foreign load {sum(loads) / max(1, len(loads)):.2f} cores on average")
    return ErrorCard.of(fit_predictor(rows, space, shape), rows, space, shape)


def _carried(net: Supernet, run: Run, config: ProfileConfig, base: str) -> ErrorCard:
    space, there = net.space, settings([word for word in base.split(",") if word])
    old = fit_predictor(profiled(run, space, net.shape, there), space, there.workload(space, net.shape).shape)
    shape, batch = config.workload(space, net.shape).shape, config.batch / there.batch
    rows = profile(net, config, run, 0, only=_telling(old, space, shape, batch))
    nets = sum(row.split in ("fit", "calibrate") for row in rows)
    print(f"carried over by {nets} nets")
    return ErrorCard.of(transfer(old, rows, space, shape, batch=batch), rows, space, shape)


def _telling(old: Any, space: SearchSpace, shape: TaskShape, batch: float) -> list[Arch]:
    rng = random.Random(0)
    pool = list(dict.fromkeys(sample(space, rng) for _ in range(CANDIDATES)))
    return plan_transfer(old, space, shape, pool, NETS, batch=batch)


if __name__ == "__main__":
    main()
