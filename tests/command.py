"""The command as a user calls it, on settings that end in seconds."""

import os
import subprocess
import sys
from pathlib import Path

TINY = (
    "experiment=digits",
    "train.steps=30",
    "train.save_every_s=0.0",
    "profile.minutes=0.05",
    "profile.max_noise=1.0",
    "search.budget=30",
    "search.workers=0",
    "search.front_size=4",
    "retrain.count=1",
    "retrain.steps=5",
)


def call(*args: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CI": "true", **extra}
    return subprocess.run(
        [sys.executable, "-m", "nas.cli", *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )
