"""A user's program that times an ONNX file for real, and the ways in which one may misbehave.

device_double.py MODE MODEL REPEATS [THREADS BATCH]
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

ZEROS = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def timed_ms(model: str, repeats: int) -> list[float]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = {node.name: np.zeros(node.shape, ZEROS[node.type]) for node in session.get_inputs()}
    session.run(None, given)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run(None, given)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main(mode: str, model: str, repeats: str, *rest: str) -> None:
    if mode == "hang":  # with a child of its own, whose id it leaves beside the model
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(rest[0]).write_text(str(child.pid))
        time.sleep(600)
    if mode == "crash":
        print("3.5")
        print("loading", "no such operator", sep="\n", file=sys.stderr)
        sys.exit(3)
    times = timed_ms(model, int(repeats))
    printed = {
        "bare": ["loaded on the device"] + [f"{ms:.6f}" for ms in times],
        "labelled": ["17", f"latency_ms={np.median(times):.6f} peak_memory_bytes=4096 energy_mj=0.25", "done"],
        "echo": [f"latency_ms={value}" for value in (repeats, *rest)],
        "silent": [],
        "text": ["took 3.5 ms"],
        "nan": [*map(str, times), "nan"],
        "negative": ["-1.5"],
        "zero": ["0.0"],
        "infinite": ["latency_ms=inf"],
        "word": ["latency_ms=fast"],
    }
    print("\n".join(printed[mode]))


if __name__ == "__main__":
    main(*sys.argv[1:])
