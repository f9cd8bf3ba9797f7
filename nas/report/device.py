"""What the page shows of the device: how far the latency predictor is off, and which operators pay."""

from dataclasses import dataclass

from nas.operators import families
from nas.report.read import Record, mapping, number, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One held-out net: measured with its spread, and predicted, in milliseconds."""

    digest: str
    measured: float
    low_ms: float
    high_ms: float
    predicted: float


@dataclass(frozen=True, slots=True)
class Worst:
    """A held-out net with its relative error, positive where it was predicted too slow."""

    net: Held
    error: float
    blocks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How far a predictor is off: mean relative error, share within 10 %, Kendall's tau; None where not known."""

    name: str
    mape: float | None
    within_5: float | None
    within_10: float | None
    tau: float | None


@dataclass(frozen=True, slots=True)
class FamilyError:
    """Mean relative error of the held-out nets that hold a family."""

    family: str
    mape: float
    nets: int


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """An operator's best time over softmax's; `loses` if it is nowhere faster."""

    operator: str
    family: str
    ratio: float
    loses: bool


@dataclass(frozen=True, slots=True)
class Crossover:
    """An operator's best time over softmax's at one size: tokens of a sequence, or pixels of an image's side."""

    operator: str
    family: str
    size: int
    ratio: float


def calibration(record: Record) -> list[Held]:
    """Predicted beside measured latency of nets that the predictor never saw."""
    found = []
    for row in rows(record.card.get("cases") or record.card.get("held_out")):
        measured, predicted = number(row.get("measured")), number(row.get("predicted"))
        if measured is not None and predicted is not None:
            low, high = (number(row.get(name)) for name in ("low_ms", "high_ms"))
            found.append(
                Held(
                    digest=str(row.get("digest", "")),
                    measured=measured,
                    low_ms=measured if low is None else low,
                    high_ms=measured if high is None else high,
                    predicted=predicted,
                )
            )
    return found


def predictor_scores(record: Record) -> list[Score]:
    """The predictor first, then what one number of a net would give."""
    found = [mapping(record.card.get("score")), *rows(record.card.get("baselines"))]
    return [
        Score(
            name=str(row.get("name", "predictor")),
            mape=number(row.get("mape")),
            within_5=number(row.get("within_5")),
            within_10=number(row.get("within_10")),
            tau=number(row.get("tau")),
        )
        for row in found
        if row
    ]


def interval_facts(record: Record) -> dict[str, float]:
    """Of the held-out nets' intervals: stated and observed coverage, mean width over the time, noise of a repeat."""
    named = ("confidence", "coverage", "upper_coverage", "width", "noise_floor")
    found = {name: number(record.card.get(name)) for name in named}
    return {name: value for name, value in found.items() if value is not None}


def family_errors(record: Record) -> list[FamilyError]:
    """Mean error of the held-out nets that hold a family's operators, largest first."""
    pairs = ((name, pair) for name, pair in mapping(record.card.get("families")).items() if isinstance(pair, list))
    found = [(name, [number(value) for value in pair]) for name, pair in pairs]
    known = [
        FamilyError(name, mape, int(nets))
        for name, (mape, nets) in ((name, pair) for name, pair in found if len(pair) == 2)
        if mape is not None and nets is not None
    ]
    return sorted(known, key=lambda row: -row.mape)


def worst_cases(record: Record, count: int = 5) -> list[Worst]:
    """The held-out nets with the largest relative errors."""
    able = [net for net in calibration(record) if net.measured > 0]
    blocks = {str(row.get("digest", "")): str(row.get("blocks", "")) for row in rows(record.card.get("cases"))}
    ordered = sorted(able, key=lambda net: -abs(net.predicted / net.measured - 1))
    return [Worst(net, net.predicted / net.measured - 1, blocks.get(net.digest, "")) for net in ordered[:count]]


def operator_times(record: Record) -> list[OperatorTime]:
    """Operators by their best time over softmax's on the run's device, fastest first."""
    known = families()
    ordered = sorted(record.operators.items(), key=lambda item: item[1])
    return [OperatorTime(name, known.get(name, ""), ratio, ratio >= 1.0) for name, ratio in ordered]


def crossovers(record: Record) -> list[Crossover]:
    """The same for every size that the device's table has; empty unless there are at least two."""
    known = families()
    sizes = {int(size): ratios for size, ratios in record.lengths.items() if size.isdecimal() and ratios}
    return [
        Crossover(name, known.get(name, ""), size, ratio)
        for size, ratios in sorted(sizes.items())
        for name, ratio in ratios.items()
        if len(sizes) > 1
    ]
