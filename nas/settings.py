"""All settings of a run as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nas.config import config, load
from nas.data import DataConfig
from nas.errors import ConfigError
from nas.export import ExportConfig
from nas.predict import PredictConfig
from nas.profiling import ProfileConfig
from nas.ranking import RankConfig
from nas.searching import ConstraintsConfig, SearchConfig
from nas.teamwork import TeamConfig
from nas.train import RetrainConfig, TrainConfig
from nas.tuning import TuneConfig


@config
class RunConfig:
    """Where the run lives, the root of its seeds, and who hears of it: W&B, and files that other dashboards open."""

    dir: str
    seed: int = 0
    wandb: Literal["off", "disabled", "offline", "online"] = "off"
    mirror: tuple[Literal["optuna", "tensorboard"], ...] = ()


@config
class ReportConfig:
    """Run folders that the page shows beside this one."""

    compare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All settings of a run, typed."""

    run: RunConfig
    data: DataConfig
    space: Mapping[str, Any]
    train: TrainConfig
    team: TeamConfig
    profile: ProfileConfig
    predict: PredictConfig
    search: SearchConfig
    constraints: ConstraintsConfig
    retrain: RetrainConfig
    export: ExportConfig
    tune: TuneConfig
    rank: RankConfig
    report: ReportConfig
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The same as plain data, as it is kept in `run.json`."""


SECTIONS: dict[str, type[Any]] = {
    "run": RunConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "team": TeamConfig,
    "profile": ProfileConfig,
    "predict": PredictConfig,
    "search": SearchConfig,
    "constraints": ConstraintsConfig,
    "retrain": RetrainConfig,
    "export": ExportConfig,
    "tune": TuneConfig,
    "rank": RankConfig,
    "report": ReportConfig,
}


def read_settings(values: Mapping[str, Any]) -> Settings:
    """The settings of a plain mapping; `ConfigError` names section and key of what is wrong."""
    if unknown := sorted(set(values) - set(SECTIONS) - {"space"}):
        raise ConfigError(f"settings have the sections {', '.join((*SECTIONS, 'space'))}; got unknown {unknown}")
    if not isinstance(values["space"], Mapping):
        raise ConfigError(
            f"space is what a space file contains, got {values['space']!r}: choose a file by search_spaces=<name>; one "
            "of your own is <folder>/search_spaces/<name>.yaml with --config-dir <folder>"
        )
    typed = {name: load(kind, values.get(name) or {}, section=name) for name, kind in SECTIONS.items()}
    return Settings(space=values["space"], plain=values, **typed)
