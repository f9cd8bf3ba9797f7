"""Where configuration, search spaces and presets are: in a checkout beside the package, in a wheel inside it."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_data"
ROOT = _PACKAGED if _PACKAGED.exists() else Path(__file__).parent.parent
CONF = ROOT / "conf"
PRESETS = ROOT / "search_spaces" / "presets"
