"""Stage `tune`: whole searches or retrainings as trials, and their comparison."""

from nas.trials.stage import tune

__all__ = ["tune"]
