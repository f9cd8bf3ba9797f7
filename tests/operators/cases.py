"""Knob values under which every operator is held to the contract: the `cases.py` of the families, put together.

`test_contract.py` fails if an operator is missing there.
"""

import importlib
from collections.abc import Mapping, Sequence

from nas import operators
from nas.arch import OperatorArch
from nas.shapes import Domain
from tests.operators.heads import Knobs

FAMILIES = sorted(set(operators.families().values()))
KNOBS: Mapping[str, Sequence[Knobs]] = {
    name: knobs
    for family in FAMILIES
    for name, knobs in importlib.import_module(f"tests.operators.{family}.cases").KNOBS.items()
}


def archs(domain: Domain) -> list[OperatorArch]:
    """All cases that are legal in the domain."""
    return [
        OperatorArch.of(name, **knobs)
        for name, cases in KNOBS.items()
        if domain in operators.get(name).domains
        for knobs in cases
    ]
