"""Searching a space: objectives, ask/tell strategies, workers, the archive and the front."""

from nas.searching.archive import Archive, Evaluation
from nas.searching.curve import front_of, hypervolume_curve
from nas.searching.engine import Pace, search
from nas.searching.executor import Executor, Scored, SerialExecutor, Task
from nas.searching.found import Found
from nas.searching.front import finish_front, violations
from nas.searching.job import Outcome, run_search, supernet_problem
from nas.searching.objectives import CheapObjectives, Constraint, Objective
from nas.searching.problem import Problem
from nas.searching.settings import ConstraintsConfig, SearchConfig, SearchOptions
from nas.searching.summary import summary

__all__ = [
    "Archive",
    "CheapObjectives",
    "Constraint",
    "ConstraintsConfig",
    "Evaluation",
    "Executor",
    "Found",
    "Objective",
    "Outcome",
    "Pace",
    "Problem",
    "Scored",
    "SearchConfig",
    "SearchOptions",
    "SerialExecutor",
    "Task",
    "finish_front",
    "front_of",
    "hypervolume_curve",
    "run_search",
    "search",
    "summary",
    "supernet_problem",
    "violations",
]
