"""A search as an Optuna study in a file: `optuna-dashboard RUN/search/NAME/optuna.log`, without any conversion."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.errors import ArchError
from nas.journal import Row
from nas.searching.problem import Problem

DIRECTIONS = {"minimise": StudyDirection.MINIMIZE, "maximise": StudyDirection.MAXIMIZE}


class OptunaMirror:
    """Takes the rows of a search's journal; genes are parameters, as in Optuna's own samplers, and only those that an
    architecture expresses. A study that is there already is gone on with.
    """

    def __init__(self, path: Path, name: str, problem: Problem) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study on the terminal by default
        self._problem = problem
        self._axes = {gene: CategoricalDistribution(values) for gene, values in problem.space.choices.items()}
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=name,
            directions=[DIRECTIONS[direction] for direction in problem.directions],
            load_if_exists=True,
        )
        with warnings.catch_warnings():  # names of objectives have been called experimental since 2023
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([objective.name for objective in problem.objectives])
        self._known = {trial.user_attrs.get("digest") for trial in self._study.get_trials(deepcopy=False)}

    def __call__(self, rows: Sequence[Row]) -> None:
        """Adds full evaluations and failures; what is not in the space, or was added before, is left out."""
        trials = [trial for trial in map(self._trial, rows) if trial is not None]
        self._study.add_trials(trials)

    def _trial(self, row: Row) -> FrozenTrial | None:
        digest = row.get("digest")
        if digest is None or digest in self._known or row.get("fidelity", 1.0) != 1.0:
            return None
        genes, values = self._genes(row), row.get("values") or {}
        names = [objective.name for objective in self._problem.objectives]
        is_whole = not row.get("error") and all(values.get(name) is not None for name in names)
        if genes is None:
            return None
        self._known.add(digest)
        return optuna.trial.create_trial(
            state=TrialState.COMPLETE if is_whole else TrialState.FAIL,
            params=dict(genes),
            distributions={gene: self._axes[gene] for gene in genes},
            values=[values[name] for name in names] if is_whole else None,
            user_attrs=_attributes(row, names),
        )

    def _genes(self, row: Row) -> Mapping[str, Any] | None:
        try:
            point = self._problem.space.read(row["arch"])
        except ArchError:
            return None
        return self._problem.space.genes(point) if point in self._problem.space else None


def _attributes(row: Row, objectives: Sequence[str]) -> dict[str, Any]:
    """What else is known of an evaluation."""
    others = {name: value for name, value in (row.get("values") or {}).items() if name not in objectives}
    known = {name: row.get(name) for name in ("digest", "origin", "seconds", "error")}
    return {**others, **{name: value for name, value in known.items() if value is not None}}
