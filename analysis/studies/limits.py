"""Does a latency limit hold as often as stated? Networks that a search would only just accept, measured.

    python -m analysis.studies.limits runs/<run> [networks] [seed]

Random networks of the run's space are given the limit that their upper bound only just meets, so that every one is a
narrow decision; the share that exceeds it once measured should be at most one minus the confidence.
"""

import math
import random
import statistics
import sys

from nas import profiling
from nas.job import Job
from nas.run import Run
from nas.settings import read_settings
from nas.space import sample

CONFIDENCES = (0.5, 0.8, 0.9, 0.95)


def main(path: str, networks: int = 60, seed: int = 0) -> None:
    run = Run.at(path)
    job = Job(run, read_settings(run.read_json("run.json")["settings"]))
    rng, known = random.Random(seed), {row.name for row in job.measured}
    drawn = list(dict.fromkeys(sample(job.net.space, rng) for _ in range(4 * networks)))
    archs = [arch for arch in drawn if arch.digest not in known][:networks]
    timings, seen = profiling.measure(job.net, archs, job.settings.profile)
    pace = statistics.median(row.reference_ms for row in job.measured) / seen.median_ms
    measured = [timing.median_ms * pace for timing in timings]
    print(f"{len(archs)} networks that no predictor saw, {min(measured):.2f} to {max(measured):.2f} ms")
    for confidence in CONFIDENCES:
        bounds = job.predictor.upper(archs, confidence)
        beyond = sum(ms > bound for ms, bound in zip(measured, bounds, strict=True))
        share = beyond / len(archs)
        error = math.sqrt(confidence * (1 - confidence) / len(archs))
        print(f"confidence {confidence:.0%}: {share:.0%} exceed (stated at most {1 - confidence:.0%}, +- {error:.0%})")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
