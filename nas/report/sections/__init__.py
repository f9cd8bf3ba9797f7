"""The sections of the page: each takes the record and gives HTML and charts, or says what to run to have some."""

from collections.abc import Sequence
from typing import Any

from nas.report.read import Record
from nas.report.sections import course, evidence, found
from nas.report.sections.section import Section

__all__ = ["Section", "all_of"]


def all_of(record: Record, data: dict[str, Any] | None, beside: Sequence[Record] = ()) -> list[Section]:
    """The page from top to bottom; `data` is what the explorer's script gets, `beside` other runs."""
    return [
        found.headline(record),
        found.explored(data),
        found.layers(record),
        found.table(record),
        found.alone(record),
        found.compared(record, beside),
        evidence.dependence(record),
        evidence.important(record),
        evidence.ranking(record),
        evidence.predictor(record),
        evidence.operators(record),
        course.hypervolume(record),
        course.training(record),
        course.costs(record),
    ]
