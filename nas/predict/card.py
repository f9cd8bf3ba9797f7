"""The error card: how wrong the predictor is on nets that it never saw, beside what one number of a net would give."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas import operators
from nas.arch import NONE, Arch, describe
from nas.errors import MeasurementError
from nas.predict.baseline import FEATURES, Baseline, feature_values
from nas.predict.contract import Array
from nas.predict.fit import FITTED
from nas.predict.learned import Corrected
from nas.predict.metrics import Score, relative_errors
from nas.profiling.table import Row, at_one_pace
from nas.shapes import TaskShape
from nas.space import SearchSpace

WORST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One held-out net, in milliseconds."""

    digest: str
    measured: float
    predicted: float
    low_ms: float
    high_ms: float
    blocks: str

    @property
    def error(self) -> float:
        """Relative error."""
        return abs(self.predicted - self.measured) / self.measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCard:
    """What is known about the predictor's error on one device."""

    device: str
    held_out: int
    fitted: int
    parts: int
    correction: str
    noise_floor: float
    """Error that a perfect predictor would show, from held-out nets measured twice; NaN if none was."""
    score: Score
    baselines: tuple[Score, ...]
    families: Mapping[str, tuple[float, int]]
    """Operator family -> mean relative error and number of the held-out nets that hold it."""
    confidence: float
    """Stated share of measurements inside an interval, and below an upper bound."""
    coverage: float
    """Observed share inside the two-sided intervals."""
    upper_coverage: float
    """Observed share below the one-sided bounds."""
    width: float
    """Mean width of the two-sided intervals over the predicted time."""
    cases: tuple[Case, ...]
    """All held-out nets, worst first."""

    @classmethod
    def of(cls, predictor: Corrected, rows: Sequence[Row], space: SearchSpace, shape: TaskShape) -> "ErrorCard":
        """Judged on the table's held-out nets; `MeasurementError` if there are fewer than two."""
        paced = at_one_pace(rows)
        nets = [row for row in paced if row.kind == "net" and row.network() in space]
        fitted, judged = ([row for row in nets if row.split in names] for names in (FITTED, ("held_out",)))
        if len(judged) < 2:
            raise MeasurementError(
                f"an error card needs two held-out nets or more, the table has {len(judged)}: "
                "raise profile.held_out_nets"
            )
        archs, measured = [row.network() for row in judged], _times(judged)
        predicted, (low, high) = predictor.predict(archs), predictor.interval(archs)
        return cls(
            device=judged[0].device,
            held_out=len(judged),
            fitted=len(fitted),
            parts=sum(row.kind == "part" for row in paced),
            correction=predictor.correction,
            noise_floor=repeat_noise(paced),
            score=Score.of("predictor", measured, predicted),
            baselines=_baselines(fitted, judged, space, shape),
            families=_families(judged, relative_errors(measured, predicted)),
            confidence=predictor.confidence,
            coverage=float(((low <= measured) & (measured <= high)).mean()),
            upper_coverage=float((measured <= predictor.upper(archs)).mean()),
            width=float(((high - low) / predicted).mean()),
            cases=_cases(judged, predicted),
        )

    @property
    def below_baseline(self) -> float:
        """Share by which the predictor's error is below that of the best one-feature baseline; NaN without one."""
        best = min((base.mape for base in self.baselines), default=math.nan)
        return 1.0 - self.score.mape / best if best else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the run folder."""
        return asdict(self)

    def figures(self) -> dict[str, float | int | str]:
        """Dotted names for the summary."""
        score = self.score
        found: dict[str, float | int | str] = {
            f"predictor.{name}": getattr(score, name) for name in ("mape", "within_5", "within_10", "r2", "tau")
        }
        found |= {"predictor.noise_floor": self.noise_floor, "predictor.correction": self.correction}
        found |= {
            f"predictor.{name}": getattr(self, name) for name in ("confidence", "coverage", "upper_coverage", "width")
        }
        found |= {"predictor.held_out": self.held_out, "predictor.fitted": self.fitted, "predictor.parts": self.parts}
        for base in self.baselines:
            found |= {f"predictor.baseline.{base.name}.{name}": getattr(base, name) for name in ("mape", "tau")}
        found |= {f"predictor.family.{family}.mape": error for family, (error, _) in self.families.items()}
        return found

    def text(self) -> str:
        """Some lines for a terminal."""
        head = f"{'':<18}{'MAPE':>8}{'<= 5 %':>8}{'<= 10 %':>9}{'R2':>7}{'tau':>7}"
        lines = [f"latency on {self.held_out} held-out nets, fitted to {self.fitted} nets and {self.parts} parts", head]
        lines += [_line(score) for score in (self.score, *self.baselines)]
        floor = "unknown" if math.isnan(self.noise_floor) else f"{self.noise_floor:.1%}"
        lines.append(f"error {self.below_baseline:.0%} below the best one-feature baseline")
        lines.append(f"repeat noise {floor}; learned correction: {self.correction}")
        lines.append(
            f"intervals of {self.confidence:.0%} hold {self.coverage:.0%}, {self.width:.1%} wide on average; "
            f"upper bounds hold {self.upper_coverage:.0%}"
        )
        lines += [
            f"  with {family:<13}{error:>8.1%}  ({count} nets)" for family, (error, count) in self.families.items()
        ]
        lines += [
            f"  worst {case.digest}  measured {case.measured:.3g} ms, predicted {case.predicted:.3g} ms  {case.blocks}"
            for case in self.cases[:WORST]
        ]
        return "\n".join(lines)


def repeat_noise(rows: Sequence[Row]) -> float:
    """Mean relative error of one measurement, from pairs of them: E|a - b| is sqrt 2 times E|a - truth|."""
    first = {row.name: row.median_ms for row in rows if row.split in (*FITTED, "held_out")}
    pairs = [(first[row.name], row.median_ms) for row in rows if row.split == "repeat" and row.name in first]
    if not pairs:
        return math.nan
    one, other = np.array(pairs).T
    return float((2 * np.abs(one - other) / (one + other)).mean() / math.sqrt(2))


def _times(rows: Sequence[Row]) -> Array:
    return np.array([row.median_ms for row in rows])


def _baselines(fitted: Sequence[Row], judged: Sequence[Row], space: SearchSpace, shape: TaskShape) -> tuple[Score, ...]:
    if len(fitted) < 2:
        return ()
    known = feature_values([row.network() for row in fitted], space, shape)
    asked = feature_values([row.network() for row in judged], space, shape)
    curves = {name: Baseline.fit(name, known[name], _times(fitted)) for name in FEATURES}
    return tuple(Score.of(name, _times(judged), curves[name].predict(asked[name])) for name in FEATURES)


def _families(rows: Sequence[Row], errors: Array) -> dict[str, tuple[float, int]]:
    found: dict[str, list[float]] = {}
    for row, error in zip(rows, errors, strict=True):
        names = {block.operator.name for block in row.network().blocks} - {NONE}
        for family in {operators.families()[name] for name in names}:
            found.setdefault(family, []).append(float(error))
    return {family: (float(np.mean(found[family])), len(found[family])) for family in sorted(found)}


def _cases(rows: Sequence[Row], predicted: Array) -> tuple[Case, ...]:
    cases = [
        Case(
            digest=row.name,
            measured=row.median_ms,
            predicted=float(ms),
            low_ms=row.low_ms,
            high_ms=row.high_ms,
            blocks=_blocks(row.network()),
        )
        for row, ms in zip(rows, predicted, strict=True)
    ]
    return tuple(sorted(cases, key=lambda case: -case.error))


def _blocks(arch: Arch) -> str:
    return "; ".join(describe(block) for block in arch.blocks)


def _line(score: Score) -> str:
    shares = f"{score.mape:>8.1%}{score.within_5:>8.0%}{score.within_10:>9.0%}"
    return f"{score.name:<18}{shares}{score.r2:>7.3f}{score.tau:>7.3f}"
