"""What each piece of the supernet's recipe is worth for the ranking: one supernet for each change, one truth for all.

python -m analysis.studies.recipe vision|language|recall FOLDER [variant …] [setting=value …]

Trains in FOLDER/<task>-<variant>-<seed>, ranks as `nas rank` does, against standalone trainings that all share in
FOLDER/standalone; what is there already is not done again. Settings are those of conf/nas.yaml; `seeds=0,1` repeats,
with a row of means and one of standard deviations for each variant.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from nas.run import Run

EXPERIMENTS = {"vision": "rank_vision", "language": "rank_language", "recall": "rank_recall"}
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "plain-sandwich": ("teacher=largest", "depth_draws=1", "smallest_every=1"),
    "dealt-teacher": ("depth_draws=1", "smallest_every=1"),
    "deep": ("smallest_every=1",),
    "deeper": ("depth_draws=3", "smallest_every=16"),
    "many": ("randoms=3", "student_batch=0.5"),
    "share-all": ("share=all",),
    "share-family": ("share=family",),
    "anchor-largest": ("anchor=largest",),
    "anchor-none": ("anchor=none", "randoms=2"),
    "uniform": ("balance=uniform",),
    "complexity": ("complexity_aware=true",),
    "opening": ("opening=0.3",),
    "hard-labels": ("distill_weight=0",),
    "soft-from-the-start": ("distill_start=0",),
    "alpha": ("distill=alpha",),
    "project": ("conflict=project",),
    "scale-block": ("layer_scale=block",),
    "scale-none": ("layer_scale=none",),
    "never-varied": ("varied_first=0",),
    "varied-at-first": ("varied_first=0.7",),
    "small-scale": ("scale_start=0.1",),
    "ema": ("ema=0.99",),
    "largest-half": ("largest_weight=0.5",),
    "largest-first": ("largest_first=0.1",),
    "ordered": ("largest_first=0.1", "ordered=true"),
    "matching": ("largest_first=0.1", "matching=0.05"),
    "half-batch": ("student_batch=0.5",),
}
HEAD: Mapping[str, str] = {
    "tau": "tau",
    "tau_low": "low",
    "tau_high": "high",
    "rival.loss.tau": "by loss",
    "share_of_ceiling": "of ceiling",
    "within_bins.tau": "in bins",
    "gap.median": "gap, %",
    "gap.largest": "largest's, %",
}
"""Figures of `nas rank` and what the table calls them."""


def main(task: str, folder: str, *more: str) -> None:
    wanted = [word for word in more if "=" not in word] or list(VARIANTS)
    if unknown := [name for name in wanted if name not in VARIANTS]:
        raise SystemExit(f"variants are {', '.join(VARIANTS)}; got {', '.join(unknown)}")
    seeds = next((word.partition("=")[2] for word in more if word.startswith("seeds=")), "0").split(",")
    settings = [word for word in more if "=" in word and not word.startswith("seeds=")]
    print(f"{'variant':<22}{'seed':>5}{'train s':>9}" + "".join(f"{name:>14}" for name in HEAD.values()))
    for name in wanted:
        found = []
        for seed in seeds:
            run = Run.at(Path(folder) / f"{task}-{name}-{seed}")
            _ranked(run, task, VARIANTS[name], [f"run.seed={seed}", *settings])
            found.append(_figures(run))
            print(_row(name, seed, found[-1]), flush=True)
        if len(found) > 1:
            print(_row(name, "mean", [_over(statistics.mean, values) for values in zip(*found, strict=True)]))
            print(
                _row(name, "sd", [_over(statistics.stdev, values) for values in zip(*found, strict=True)]), flush=True
            )


def _ranked(run: Run, task: str, changes: Sequence[str], settings: Sequence[str]) -> None:
    recipe = [f"train.recipe.{change}" for change in changes]
    asked = [f"experiment={EXPERIMENTS[task]}", f"run.dir={run.path}", *recipe, *settings]
    for stage in ("train", "rank"):
        subprocess.run([sys.executable, "-m", "nas.cli", stage, *asked], check=True, stdout=subprocess.DEVNULL)


def _figures(run: Run) -> list[float | None]:
    """Seconds of training, and the figures of HEAD."""
    figures = run.read_json("summary.json")
    return [figures["stage.train.seconds"], *(figures.get(f"rank.{key}") for key in HEAD)]


def _over(pool: Callable[[Iterable[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return pool(known) if len(known) == len(values) else None


def _row(name: str, seed: str, figures: Sequence[float | None]) -> str:
    seconds, *values = figures
    cells = "".join(f"{'-' if value is None else f'{value:.3f}':>14}" for value in values)
    return f"{name:<22}{seed:>5}{seconds:>9.0f}{cells}"


if __name__ == "__main__":
    main(*sys.argv[1:])
