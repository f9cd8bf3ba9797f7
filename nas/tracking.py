"""Training figures to Weights & Biases, only when asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nas.errors import MissingDependencyError
from nas.progress import say
from nas.run import Run

OnLog = Callable[[dict[str, Any]], None]


@contextmanager
def tracker(mode: Literal["off", "offline", "online"], run: Run) -> Iterator[OnLog | None]:
    """A function that logs a row of figures, or None when off; a missing key turns online into offline with a word."""
    if mode == "off":
        yield None
        return
    try:
        import wandb
    except ImportError as error:
        raise MissingDependencyError("run.wandb needs the package wandb: pip install 'attention-nas[wandb]'") from error
    if mode == "online" and not wandb.api.api_key:
        say("wandb: no API key found, logging offline; `wandb login`, then `wandb sync` sends it later")
        mode = "offline"
    session = wandb.init(mode=mode, dir=str(run.path), project="attention-nas", name=run.path.name, resume="allow")
    try:
        yield lambda row: session.log({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))
    finally:
        session.finish()
