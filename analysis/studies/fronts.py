"""Which space has the better front? Runs of one task and one budget by hypervolume, as searched and as retrained.

    python -m analysis.studies.fronts RUN RUN...

Both from the runs' folders: measured latency against quality with inherited weights on val (the front of `nas search`),
and against quality on test of what `nas retrain` trained alone (hand-made references left out). Hypervolumes are shares
of the box that all fronts of one kind span together, so they compare inside a column only. Operators are counted over
the blocks of the front's networks.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nas.pareto import Direction
from nas.report.comparison import common_volumes
from nas.report.figures import front_points
from nas.report.read import Record, read
from nas.run import Run

Places = list[tuple[float, float]]


def searched(record: Record) -> Places:
    """Milliseconds and inherited quality of the measured front."""
    return [(point.latency_ms, point.quality) for point in front_points(record)]


def alone(record: Record) -> Places:
    """Milliseconds and quality on test of the winners, the mean over seeds."""
    won = (row for row in record.retrained.values() if row.get("is_winner"))
    return [(float(row["latency_ms"]), float(row["test"])) for row in won]


def operators(record: Record) -> str:
    """Operators of the front's blocks, the most frequent first."""
    found = Counter(
        block.operator.name
        for point in record.front
        if point.arch
        for stage in point.arch.stages
        for block in stage.blocks
    )
    return ", ".join(f"{name} {count}" for name, count in found.most_common())


def table(records: Sequence[Record]) -> str:
    """One row per run."""
    quality: Direction = "maximise" if records[0].is_maximised else "minimise"
    kinds = {"searched": [searched(one) for one in records], "alone": [alone(one) for one in records]}
    found = {kind: common_volumes(fronts, quality) if all(fronts) else [] for kind, fronts in kinds.items()}
    best = max if records[0].is_maximised else min
    lines = [
        f"| run | evaluations | front, ms | best {records[0].metric} | hypervolume | alone: best on test, volume |"
    ]
    lines += ["|---" * 6 + "|"]
    for i, record in enumerate(records):
        front, trained = kinds["searched"][i], kinds["alone"][i]
        ends = f"{len(front)}, {min(front)[0]:.2f} to {max(front)[0]:.2f}"
        later = (
            f"{best(test for _, test in trained):.4f} of {len(trained)}, {found['alone'][i]:.3f}"
            if found["alone"]
            else ""
        )
        lines.append(
            f"| {record.name} | {len(record.evaluated)} | {ends} | {best(value for _, value in front):.4f} "
            f"| {found['searched'][i]:.3f} | {later} |"
        )
    return "\n".join([*lines, "", *(f"{record.name}: {operators(record)}" for record in records)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    print(table([read(Run(folder)) for folder in parser.parse_args().runs]))


if __name__ == "__main__":
    main()
