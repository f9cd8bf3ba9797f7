"""Searching a space: objectives, ask/tell strategies, workers, the archive and the front."""

from nas.search.archive import Archive, Evaluation
from nas.search.engine import front_of, hypervolume_curve, search
from nas.search.executor import Executor, Scored, SerialExecutor
from nas.search.front import finish_front, violations
from nas.search.job import Outcome, run_search, supernet_problem
from nas.search.objectives import CheapObjectives, Constraint, Objective
from nas.search.problem import Problem
from nas.search.settings import ConstraintsConfig, SearchConfig
from nas.search.summary import summary

__all__ = [
    "Archive",
    "CheapObjectives",
    "Constraint",
    "ConstraintsConfig",
    "Evaluation",
    "Executor",
    "Objective",
    "Outcome",
    "Problem",
    "Scored",
    "SearchConfig",
    "SerialExecutor",
    "finish_front",
    "front_of",
    "hypervolume_curve",
    "run_search",
    "search",
    "summary",
    "supernet_problem",
    "violations",
]
