"""What a latency was measured on, as a value with a digest, and how busy others kept the machine meanwhile."""

import hashlib
import os
import platform
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

CPUINFO, STAT = Path("/proc/cpuinfo"), Path("/proc/stat")
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")
IDLE_COLUMNS = (3, 4)  # idle and iowait
GUEST_COLUMNS = 8  # from here on the columns repeat time that user and nice already hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Hardware, software and settings that a latency depends on; rows of equal `digest` may be compared."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    os: str
    python: str
    torch: str
    threads: int
    dtype: str
    runtime: str = "eager"
    version: str = ""
    """Of the runtime's software; for a user's command, the name given to the device behind it."""
    gpu: str = ""

    @property
    def digest(self) -> str:
        """Twelve hex digits of all fields."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the digest with it."""
        return {**asdict(self), "digest": self.digest}


def fingerprint(
    threads: int, torch_device: str = "cpu", *, dtype: str = "float32", runtime: str = "eager", version: str = ""
) -> Device:
    """This machine with a runtime and its settings."""
    info = _cpuinfo()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return Device(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        flags=tuple(flag for flag in TELLING_FLAGS if flag in flags),
        os=f"{platform.system()} {platform.machine()}",
        python=".".join(platform.python_version_tuple()[:2]),
        torch=torch.__version__,
        threads=threads,
        dtype=dtype,
        runtime=runtime,
        version=version or torch.__version__,
        gpu=torch.cuda.get_device_name(torch_device) if torch_device.startswith("cuda") else "",
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds that all cores, and this process, had been busy at a point in time."""

    wall: float
    busy: float
    own: float


def moment() -> Moment | None:
    """Now; None where the system has no `/proc/stat`."""
    if not STAT.exists():
        return None
    ticks = [int(value) for value in STAT.read_text().splitlines()[0].split()[1:]]
    busy = sum(value for i, value in enumerate(ticks[:GUEST_COLUMNS]) if i not in IDLE_COLUMNS)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Moment(time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), used.ru_utime + used.ru_stime)


def foreign_load(since: Moment | None) -> float | None:
    """Mean number of cores that others kept busy since a moment; None where that cannot be known."""
    now = moment()
    if since is None or now is None or now.wall <= since.wall:
        return None
    return max(0.0, (now.busy - since.busy - (now.own - since.own)) / (now.wall - since.wall))


def _cpuinfo() -> dict[str, str]:
    if not CPUINFO.exists():
        return {}
    first = CPUINFO.read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
