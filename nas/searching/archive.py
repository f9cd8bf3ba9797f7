"""Every evaluation of a search, in the order of their ends, on disk before anybody acts on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nas.arch import Arch
from nas.errors import CheckpointError
from nas.run import Log
from nas.searching.objectives import Values
from nas.space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One arch and what came of it; `error` is the reason where no values came."""

    arch: Arch
    values: Values
    origin: str
    seconds: float
    error: str = ""

    def to_row(self) -> dict[str, Any]:
        """Plain data for the log."""
        row: dict[str, Any] = {"arch": self.arch.to_dict(), "digest": self.arch.digest, "values": dict(self.values)}
        row |= {"origin": self.origin, "seconds": self.seconds}
        return {**row, "error": self.error} if self.error else row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The evaluation that `to_row` wrote."""
        return cls(
            arch=Arch.from_dict(row["arch"]),
            values=row["values"],
            origin=row["origin"],
            seconds=row["seconds"],
            error=row.get("error", ""),
        )


class Archive:
    """Append-only evaluations over a run's log; an arch is in it once or not at all."""

    def __init__(self, log: Log, space: SearchSpace) -> None:
        self._log = log
        self._rows: dict[str, Evaluation] = {}
        for number, row in enumerate(log.rows(), 1):
            evaluation = Evaluation.from_row(row)
            if evaluation.arch not in space:
                raise CheckpointError(
                    f"{log.path} line {number} holds arch {evaluation.arch.digest}, which is not in space "
                    f"{space.frame.name!r}: choose another search.name, or another run.dir, for this space"
                )
            self._rows.setdefault(evaluation.arch.digest, evaluation)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, arch: Arch) -> bool:
        return arch.digest in self._rows

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, oldest first."""
        return list(self._rows.values())

    @property
    def by_digest(self) -> Mapping[str, Evaluation]:
        """All evaluations under the digests of their archs."""
        return self._rows

    def append(self, evaluation: Evaluation) -> None:
        """Adds an evaluation; it is on disk when this returns. `ValueError` for an arch that is in already."""
        if evaluation.arch in self:
            raise ValueError(f"arch {evaluation.arch.digest} was evaluated before: an archive holds each arch once")
        self._log.append(evaluation.to_row())
        self._rows[evaluation.arch.digest] = evaluation
