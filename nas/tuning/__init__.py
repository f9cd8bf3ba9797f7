"""Comparing whole jobs: combinations of settings, Ray Tune as their runner, and the table of what they came to."""

from nas.tuning.grid import Combination, check_over, combinations
from nas.tuning.settings import AshaConfig, TuneConfig

__all__ = ["AshaConfig", "Combination", "TuneConfig", "check_over", "combinations"]
