"""What a data source hands over: compact tensors in three splits, the last of which search never sees."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from nas.config import config
from nas.errors import DataError
from nas.shapes import TaskShape

TaskKind = Literal["classification", "language", "recall"]
Share = Annotated[float, Field(gt=0.0, lt=0.5)]
Positive = Annotated[int, Field(ge=1)]


@config
class DataConfig:
    """Which source to read, from where, and how much of it.

    `path` is None for what is embedded or installed with the system. `val_share` is the share held out for every
    split that the source does not bring itself. The limits keep a fixed random subset, nested in any larger one.
    `vocab`, `pairs` and `examples` belong to the generated recall task, `image_size` (pixels) to image folders.
    `canvas` puts every image at a random place of a black square of that side, in pixels; None leaves images alone.
    """

    name: str
    path: str | None = None
    seq_len: Annotated[int, Field(ge=2)] = 512
    val_share: Share = 0.1
    seed: int = 0
    train_size: Positive | None = None
    val_size: Positive | None = None
    test_size: Positive | None = None
    image_size: Positive = 32
    canvas: Positive | None = None
    vocab: Annotated[int, Field(ge=4, le=32767)] = 1024
    pairs: Positive = 4
    examples: Positive = 40_000


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and targets that belong together, in compact dtypes (bytes, int16); the first axis counts examples."""

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(
                f"every input needs one target: found {len(self.inputs)} inputs and {len(self.targets)} targets; "
                "check that both files belong to the same split"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor) -> "Examples":
        """The examples at `index` (positions or a mask), as a copy."""
        return Examples(self.inputs[index], self.targets[index])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Real or generated data in three splits, with a short hash of every byte in them."""

    name: str
    task: TaskKind
    shape: TaskShape
    train: Examples
    val: Examples
    held_out: Examples | None = field(repr=False)
    digest: str
    is_mirrorable: bool = False

    @property
    def test(self) -> Examples:
        """The split for the final table only; `DataError` on a dataset made by `searchable`."""
        if self.held_out is None:
            raise DataError(
                f"search never reads the test split, and data {self.name!r} was handed over without it; "
                "score on val, or load the data anew in the final report"
            )
        return self.held_out

    def searchable(self) -> "Dataset":
        """The same data without its test split: the only form that search and training are given."""
        return replace(self, held_out=None)
