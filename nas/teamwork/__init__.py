"""Training one supernet on several processes or nodes through Ray Train."""

from nas.teamwork.settings import TeamConfig
from nas.teamwork.together import check_team, train_together

__all__ = ["TeamConfig", "check_team", "train_together"]
