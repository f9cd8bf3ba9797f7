"""Stages made of trials: `tune` compares whole searches or retrainings, `rank` tests what inherited scores say."""

from nas.trials.rank import rank_subnets
from nas.trials.stage import tune

__all__ = ["rank_subnets", "tune"]
