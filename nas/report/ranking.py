"""What the page and the terminal show of `nas rank`: networks by both scores, and how far their order agrees."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.arch import NONE
from nas.report.read import Record, arch_of, mapping, number, numbers, rows
from nas.report.stacks import NO_MIXING, UNKNOWN, outline

SHORT, TRAITS = "short", "traits"
RIVALS = {
    "loss": "inherited loss",
    "params": "parameters",
    "flops": "FLOPs",
    "grad_norm": "gradient norm",
    "snip": "SNIP",
    TRAITS: "no supernet: traits, learnt from {teachers}",
    "corrected": "inherited scores, corrected by {teachers}",
}
"""By their names in the evidence; teachers are the networks trained alone that a regression learns from."""
AGAIN = "run `nas rank` again, which trains nothing twice"


@dataclass(frozen=True, slots=True)
class Span:
    """A figure with its 95 % interval; None where not known."""

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        ends = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{ends}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedNet:
    """One net: its inherited score, and alone the mean over seeds with the lowest and the highest."""

    digest: str
    outline: str
    family: str
    size: str
    params: float | None
    inherited: float
    alone: float
    low: float
    high: float
    is_ranked: bool
    """False of the largest, which was trained beside those that correlations are taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Inherited against standalone scores of some nets."""

    name: str
    family: str
    nets: float | None
    tau: Span
    spearman: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What else ranks the same nets; `lead` is how much more tau inherited scores have."""

    name: str
    tau: Span
    within_bins: Span
    lead: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The evidence as it is shown."""

    metric: str
    steps: float | None
    batch_size: float | None
    seeds: int
    is_stale: bool
    """Whether the run's supernet is another one by now."""
    nets: tuple[RankedNet, ...]
    agreements: tuple[Agreement, ...]
    rivals: tuple[Rival, ...]
    within_bins: Span
    ceiling: Span
    share_of_ceiling: float | None
    gap: Mapping[str, float]
    corrected_error: float | None
    """Median per cent by which corrected scores are off."""
    corrected_largest: float | None
    """The same of the largest architecture."""
    landmarks: int
    """Further networks, trained for a short time, that the correction has learnt from."""
    idle: int
    """Those that it did better without."""
    noise: Mapping[str, float]
    left_out: int


def trust(record: Record) -> Trust | None:
    """What `nas rank` left; None before it has run."""
    found = record.ranking
    overall = mapping(found.get("overall"))
    if not overall:
        return None
    nets, asked, marks = rows(found.get("nets")), mapping(found.get("asked")), len(rows(found.get("landmarks")))
    idle, marks = (0, marks) if found.get("by_landmarks", True) is True else (marks, 0)
    return Trust(
        metric=str(found.get("metric", "")),
        steps=number(found.get("steps")),
        batch_size=number(found.get("batch_size")),
        seeds=len(asked.get("seeds") or ()) if isinstance(asked.get("seeds"), list) else 0,
        is_stale=bool(record.supernet) and record.supernet != asked.get("supernet"),
        nets=tuple(_nets(nets)),
        agreements=tuple(_agreements(found, nets)),
        rivals=tuple(_rival(row, found, marks) for row in rows(found.get("rivals"))),
        within_bins=_span(found.get("within_bins")),
        ceiling=_span(found.get("ceiling")),
        share_of_ceiling=number(found.get("share_of_ceiling")),
        gap=numbers(found.get("gap")),
        corrected_error=number(found.get("corrected_error")),
        corrected_largest=number(found.get("corrected_largest")),
        landmarks=marks,
        idle=idle,
        noise=numbers(found.get("noise")),
        left_out=len(rows(found.get("left_out"))),
    )


def agreement_cells(found: Trust) -> list[list[str]]:
    """Header and cells: all nets, then by size, then by family."""
    head = ["agreement among", "nets", "tau [95 %]", "Spearman"]
    return [head, *([row.name, _count(row.nets), str(row.tau), str(row.spearman)] for row in found.agreements)]


def rival_cells(found: Trust) -> list[list[str]]:
    """Header and cells: the inherited scores, the ceiling, then what else there is."""
    head = ["ranked by", "tau [95 %]", "tau within sizes", "inherited scores are ahead by"]
    overall = found.agreements[0].tau
    first = [
        ["inherited scores", str(overall), str(found.within_bins), ""],
        ["training alone again", str(found.ceiling), "", ""],
    ]
    return [head, *first, *([r.name, str(r.tau), str(r.within_bins), str(r.lead)] for r in found.rivals)]


def sentences(found: Trust) -> list[str]:
    """The ceiling, the gap and the noise in words; the first says it where the evidence is of another supernet."""
    said = [f"The supernet has changed since this was found: {AGAIN}."] if found.is_stale else []
    if found.share_of_ceiling is not None:
        said.append(f"Inherited scores reach {found.share_of_ceiling:.0%} of the tau of training alone again.")
    if {"median", "low", "high"} <= found.gap.keys():
        gap = {name: _gap(value) for name, value in found.gap.items()}
        largest = f"; the largest's are {gap['largest']}" if "largest" in gap else ""
        said.append(
            f"Inherited scores are {gap['median']} than alone (median; quartiles {gap['low']}, {gap['high']}){largest}."
        )
    if found.corrected_error is not None:
        largest = "" if found.corrected_largest is None else f", the largest's by {found.corrected_largest / 100:.1%}"
        said.append(
            f"Corrected by {_teachers(found.landmarks)} trained alone, they are off by "
            f"{found.corrected_error / 100:.1%} (median, either way){largest}; objective `standalone` searches by that."
        )
    if found.idle:
        said.append(f"The {found.idle} landmarks do not count: without them left-out networks are foretold better.")
    if {"seeds", "nets"} <= found.noise.keys():
        said.append(
            f"Standard deviation over seeds {found.noise['seeds']:.4g}, over architectures {found.noise['nets']:.4g}."
        )
    if found.left_out:
        said.append(f"Left out: {found.left_out} that could not be trained or scored.")
    return said


def _gap(percent: float) -> str:
    return f"{abs(percent) / 100:.1%} {'worse' if percent >= 0 else 'better'}"


def _nets(found: Sequence[Mapping[str, Any]]) -> Iterator[RankedNet]:
    sizes = _sizes(found)
    for row in found:
        inherited, alone = number(row.get("inherited")), _alone(row)
        if inherited is None or not alone:
            continue
        yield RankedNet(
            digest=str(row.get("digest", "")),
            outline="" if (arch := arch_of(row)) is None else outline(arch),
            family=_family(row.get("family")),
            size=sizes.get(str(row.get("size_bin")), ""),
            params=number(row.get("params")),
            inherited=inherited,
            alone=sum(alone) / len(alone),
            low=min(alone),
            high=max(alone),
            is_ranked=row.get("is_ranked", True) is True,
        )


def _alone(row: Mapping[str, Any]) -> list[float]:
    values = row.get("standalone")
    return [value for value in map(number, values) if value is not None] if isinstance(values, list) else []


def _agreements(found: Mapping[str, Any], nets: Sequence[Mapping[str, Any]]) -> Iterator[Agreement]:
    sizes = _sizes(nets)
    yield _agreement(mapping(found.get("overall")), "all")
    for row in rows(found.get("bins")):
        yield _agreement(row, sizes.get(str(row.get("name")), str(row.get("name"))))
    for row in rows(found.get("families")):
        yield _agreement(row, _family(row.get("name")), _family(row.get("name")))


def _agreement(row: Mapping[str, Any], name: str, family: str = "") -> Agreement:
    tau, rho = _span(row.get("tau")), _span(row.get("spearman"))
    return Agreement(name=name, family=family, nets=number(row.get("nets")), tau=tau, spearman=rho)


def _teachers(landmarks: int) -> str:
    return f"{landmarks} landmarks and the others" if landmarks else "the others"


def _rival(row: Mapping[str, Any], found: Mapping[str, Any], landmarks: int) -> Rival:
    name, are_inherited = str(row.get("name", "")), found.get("short_start") == "inherited"
    tau, within, lead = (_span(row.get(key)) for key in ("tau", "within_bins", "lead"))
    teachers = _teachers(0 if are_inherited and name == TRAITS else landmarks)
    shown = _short(number(found.get("short_steps")), are_inherited) if name == SHORT else RIVALS.get(name, name)
    return Rival(name=shown.format(teachers=teachers), tau=tau, within_bins=within, lead=lead)


def _short(steps: float | None, are_inherited: bool) -> str:
    what = "inherited weights, trained on" if are_inherited else "training alone"
    return f"{what} briefly" if steps is None else f"{what} for {steps:,.0f} steps"


def _sizes(nets: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What a size bin is called, by the parameters of the nets in it."""
    known: dict[str, list[float]] = {}
    for row in nets:
        params = number(row.get("params"))
        if params is not None and row.get("is_ranked", True) is True:
            known.setdefault(str(row.get("size_bin")), []).append(params / 1e3)
    return {name: f"{min(found):,.0f}–{max(found):,.0f} k params" for name, found in known.items()}


def _span(value: Any) -> Span:
    found = mapping(value)
    return Span(*(number(found.get(key)) for key in ("value", "low", "high")))


def _family(name: Any) -> str:
    return NO_MIXING if name == NONE else name if isinstance(name, str) else UNKNOWN


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
