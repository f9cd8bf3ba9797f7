"""What a run found, for people: text for a terminal and one self-contained page."""

from nas.report.page import write
from nas.report.summary import alone_table, front_table, ranking_text, text

__all__ = ["alone_table", "front_table", "ranking_text", "text", "write"]
