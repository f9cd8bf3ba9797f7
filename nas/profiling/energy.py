"""Energy of a call where the processor counts it (RAPL through Linux' powercap); elsewhere none is claimed."""

import re
import time
from pathlib import Path

from nas.profiling.program import Program

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")  # one per socket; zones inside it are counted in it
AT_LEAST_S = 0.1  # counters move about every millisecond


def energy_mj(program: Program) -> float | None:
    """Millijoules of one call, the whole processor's idle share included; None where no counter can be read."""
    zones = _zones()
    if not zones:
        return None
    once = max(program.elapsed_ms(1), 1e-3) / 1e3
    before, calls, until = _read(zones), 0, time.monotonic() + AT_LEAST_S
    while not calls or time.monotonic() < until:
        count = max(1, round(AT_LEAST_S / once / 4))
        program.elapsed_ms(count)
        calls += count + 1  # one more than is timed
    spent = [_spent(zone, a, b) for zone, a, b in zip(zones, before, _read(zones), strict=True)]
    return sum(spent) / 1e3 / calls


def _zones() -> list[Path]:
    found = sorted(path for path in POWERCAP.glob("intel-rapl:*") if PACKAGE.fullmatch(path.name))
    try:
        _read(found)
    except OSError:  # there, but for root alone
        return []
    return found


def _read(zones: list[Path]) -> list[int]:
    return [int((zone / "energy_uj").read_text()) for zone in zones]


def _spent(zone: Path, before: int, after: int) -> int:
    """Microjoules between two readings of a counter that starts again at its range."""
    return after - before if after >= before else after - before + int((zone / "max_energy_range_uj").read_text())
