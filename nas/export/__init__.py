"""Finished networks as files that other programs read, and the way back."""

from nas.export.bundle import load
from nas.export.stage import ExportCard, ExportConfig, export

__all__ = ["ExportCard", "ExportConfig", "export", "load"]
