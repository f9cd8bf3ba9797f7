"""Every evaluation of a search, in the order of their ends, on disk before anybody acts on it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import CheckpointError
from nas.journal import Log, Owner, Row, Session
from nas.searching.objectives import Values
from nas.space import Space

VERSION = 2
EXACT = 1e-9
"""Tolerance of sums of fidelities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One point and what came of it; `error` is the reason where no values came."""

    point: Any
    values: Values
    origin: str
    seconds: float
    error: str = ""
    fidelity: float = 1.0
    """Share of a full evaluation that the values come from."""

    def to_row(self) -> Row:
        """Plain data for the log."""
        row: Row = {"arch": self.point.to_dict(), "digest": self.point.digest, "values": dict(self.values)}
        row |= {"origin": self.origin, "seconds": self.seconds}
        row |= {"error": self.error} if self.error else {}
        return row if self.fidelity == 1.0 else {**row, "fidelity": self.fidelity}

    @classmethod
    def from_row(cls, row: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> "Evaluation":
        """The evaluation that `to_row` wrote; `read` makes its point."""
        return cls(
            point=read(row["arch"]),
            values={name: value for name, value in row["values"].items() if value is not None},
            origin=row["origin"],
            seconds=row["seconds"],
            error=row.get("error", ""),
            fidelity=row.get("fidelity", 1.0),
        )


class Archive:
    """Append-only evaluations over a run's log; a point is in it once per fidelity or not at all.

    Besides evaluations the log has a first row with version and space, and rows of points that some process has claimed
    and is evaluating; claims of processes that have ended count for nothing.
    """

    def __init__(self, log: Log, space: Space) -> None:
        self._log, self._space = log, space
        self._rows: dict[tuple[str, float], Evaluation] = {}
        self._reached: dict[str, float] = {}
        self._origins: dict[str, str] = {}
        self._spent = 0.0
        self._claims: dict[tuple[str, float], str] = {}
        """What others have claimed, as long as it is not evaluated, and who."""
        self._owner: Owner | None = None
        self._foreign: list[Evaluation] = []
        self._offset = self._lines = 0
        self._refresh()

    def __len__(self) -> int:
        return len(self._reached)

    def __contains__(self, point: Any) -> bool:
        return (point.digest, 1.0) in self._rows

    @property
    def path(self) -> Path:
        """The log's file."""
        return self._log.path

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, oldest first."""
        return list(self._rows.values())

    def origin(self, point: Any) -> str | None:
        """Where an evaluated point came from."""
        return self._origins.get(point.digest)

    def reached(self, point: Any) -> float:
        """The highest fidelity at which the point was evaluated; 0 if it never was."""
        return self._reached.get(point.digest, 0.0)

    @property
    def spent(self) -> float:
        """Cost so far in full evaluations."""
        return self._spent

    @property
    def claimed(self) -> float:
        """Cost of what other living processes are evaluating, in full evaluations."""
        living = {owner for owner in set(self._claims.values()) if self._mine().is_alive(owner)}
        return sum(fidelity for (_, fidelity), owner in self._claims.items() if owner in living)

    def news(self) -> list[Evaluation]:
        """What other processes have added since this was last asked."""
        self._foreign += self._refresh()
        found, self._foreign = self._foreign, []
        return found

    def claim(self, points: Sequence[Any], fidelity: float = 1.0, within: float = math.inf) -> list[Any]:
        """Those of the points that nobody has evaluated that far or is about to: from now on they are this process's.

        No more than the cost `within` allows for besides what is spent and claimed by others.
        """
        mine = self._mine()
        with self._log.locked() as session:
            self._foreign += self._absorb(*session.tail(self._offset))
            count = (within - self.spent - self.claimed) / fidelity + EXACT
            free = [point for point in points if self._is_free(point, fidelity)]
            free = free[: max(0, math.floor(min(count, len(free))))]
            row: Row = {"claim": [point.digest for point in free], "owner": mine.name}
            row |= {} if fidelity == 1.0 else {"fidelity": fidelity}
            self._write(session, [row] if free else [], sync=False)
        return free

    def append(self, *evaluations: Evaluation) -> None:
        """Adds evaluations; they are on disk when this returns. `ValueError` for one that is in already."""
        if twice := next((e for e in evaluations if _key(e) in self._rows), None):
            raise ValueError(f"{twice.point.digest} was evaluated before: an archive holds each point once")
        with self._log.locked() as session:
            self._foreign += self._absorb(*session.tail(self._offset))
            new = [evaluation for evaluation in evaluations if _key(evaluation) not in self._rows]
            self._write(session, [evaluation.to_row() for evaluation in new])
        for evaluation in new:
            self._keep(evaluation)

    def close(self) -> None:
        """Gives up what this process had claimed."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _refresh(self) -> list[Evaluation]:
        return self._absorb(*self._log.tail(self._offset))

    def _write(self, session: Session, rows: Sequence[Row], *, sync: bool = True) -> None:
        head: list[Row] = [] if self._lines or not rows else [{"journal": VERSION, "space": self._space.digest}]
        if rows:
            self._offset = session.write([*head, *rows], sync=sync)
            self._lines += len(head) + len(rows)

    def _absorb(self, rows: Sequence[Row], offset: int) -> list[Evaluation]:
        found = []
        for row in rows:
            self._lines += 1
            if "claim" in row:
                claimed = ((digest, row.get("fidelity", 1.0)) for digest in row["claim"])
                self._claims.update(dict.fromkeys(claimed, row["owner"]))
            elif "journal" in row:
                self._check_version(row)
            elif (evaluation := self._evaluation(row)) is not None:
                found.append(evaluation)
        self._offset = offset
        return found

    def _evaluation(self, row: Row) -> Evaluation | None:
        evaluation = Evaluation.from_row(row, self._space.read)
        if evaluation.point not in self._space:
            raise CheckpointError(
                f"{self.path} line {self._lines} holds {evaluation.point.digest}, which is not in space "
                f"{self._space.name!r}: choose another search.name, or another folder, for this space"
            )
        if _key(evaluation) in self._rows:
            return None
        self._keep(evaluation)
        return evaluation

    def _keep(self, evaluation: Evaluation) -> None:
        self._rows[_key(evaluation)] = evaluation
        self._reached[evaluation.point.digest] = max(self.reached(evaluation.point), evaluation.fidelity)
        self._origins.setdefault(evaluation.point.digest, evaluation.origin)
        self._spent += evaluation.fidelity
        self._claims.pop(_key(evaluation), None)

    def _check_version(self, row: Row) -> None:
        if row["journal"] > VERSION:
            raise CheckpointError(
                f"{self.path} was written by a newer version (journal {row['journal']}, this one reads up to "
                f"{VERSION}): update attention-nas, or choose another search.name"
            )

    def _is_free(self, point: Any, fidelity: float) -> bool:
        owner = self._claims.get((point.digest, fidelity))
        is_held = owner is not None and self._mine().is_alive(owner)
        return self.reached(point) < fidelity and not is_held

    def _mine(self) -> Owner:
        if self._owner is None:
            self._owner = Owner(self.path)
        return self._owner


def _key(evaluation: Evaluation) -> tuple[str, float]:
    return evaluation.point.digest, evaluation.fidelity
