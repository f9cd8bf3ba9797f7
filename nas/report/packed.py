"""Columns of numbers as text that a page carries: little-endian typed arrays in base64."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

Packed = dict[str, str]
KINDS = {"f4": np.float32, "u1": np.uint8, "u2": np.uint16, "u4": np.uint32}


def pack(values: NDArray[Any], kind: str) -> Packed:
    """The values as type `kind`, one of `KINDS`; `ValueError` where a whole number does not fit into it."""
    stored = np.ascontiguousarray(values).astype(np.dtype(KINDS[kind]).newbyteorder("<"))
    if kind != "f4" and values.size and not np.array_equal(stored, values):
        raise ValueError(f"{kind} must hold every value exactly, got up to {values.max()}")
    return {"type": kind, "data": base64.b64encode(stored.tobytes()).decode()}


def pack_whole(values: NDArray[Any]) -> Packed:
    """Whole numbers from 0 on, in the smallest type that holds them."""
    most = int(values.max()) if values.size else 0
    return pack(values, "u1" if most < 2**8 else "u2" if most < 2**16 else "u4")


def unpack(packed: Packed) -> NDArray[Any]:
    """The values of `pack`, flat."""
    kind = np.dtype(KINDS[packed["type"]]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(packed["data"]), dtype=kind)
