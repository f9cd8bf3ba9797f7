"""How far inherited scores can be trusted: nets trained alone, and rank correlations with what they inherited."""

from nas.ranking.settings import RankConfig

__all__ = ["RankConfig"]
