"""What a run found, for people: text for a terminal and one self-contained page."""

from nas.report.page import write
from nas.report.summary import front_table, text

__all__ = ["front_table", "text", "write"]
