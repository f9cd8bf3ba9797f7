"""Reader of IDX files, the format of MNIST and Fashion-MNIST, plain or gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import DataError

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path) -> Tensor:
    """The unsigned bytes of an IDX file in the shape its header states; `DataError` if the file is not one, or cut."""
    content = _content(path)
    shape, start = _header(content, path)
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        raise DataError(
            f"an IDX file holds as many bytes as its header says: {path.name} announces {expected} "
            f"({' x '.join(map(str, shape))}) and holds {found}; fetch the file again"
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(shape)


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.name} is not a whole gzip file ({error}); fetch the file again") from error


def _header(content: bytes, path: Path) -> tuple[tuple[int, ...], int]:
    """The shape, and the offset of the first value; magic number = two zero bytes, value type, number of axes."""
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
        raise DataError(
            f"an IDX file of unsigned bytes starts with 00 00 08 and its number of axes (1 to 4): "
            f"{path.name} starts with {magic.hex(' ') or 'nothing'}; give the original files"
        )
    axes = magic[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{path.name} ends inside its header of {start} bytes; fetch the file again")
    return struct.unpack(f">{axes}I", content[4:start]), start
