"""A run's stages on Weights & Biases, only when asked for: one W&B run for each training, search and retraining.

All of a run folder are one group there. `offline` keeps everything in the run folder until `wandb sync`; `disabled`
goes through all motions and keeps nothing.
"""

import hashlib
import netrc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from nas.errors import MissingDependencyError
from nas.journal import Row
from nas.progress import say
from nas.run import Run

Mode = Literal["off", "disabled", "offline", "online"]
PROJECT = "attention-nas"


@dataclass(slots=True)
class Tracked:
    """An open run on W&B; what earlier processes of the same stage have logged is not logged again."""

    session: Any
    run: Run
    evaluated: int = 0

    def steps(self, rows: Sequence[Row]) -> None:
        """Rows of a training's log, from its first on: losses at each step."""
        logged = last = self._logged
        for row in rows:
            if isinstance(row.get("step"), int) and row["step"] > last:
                last = row["step"]
                self.session.log({name: value for name, value in row.items() if name != "step"}, step=last)
        self._keep(last, logged)

    def evaluations(self, rows: Sequence[Row]) -> None:
        """Rows of a search's journal, from its first on: values of each evaluation, in the order of their ends."""
        logged = self._logged
        for row in rows:
            if "values" not in row or row.get("error") or row.get("fidelity", 1.0) != 1.0:
                continue
            self.evaluated += 1
            if self.evaluated > logged:
                known = {name: value for name, value in row["values"].items() if value is not None}
                self.session.log({**known, "seconds": row.get("seconds")}, step=self.evaluated)
        self._keep(self.evaluated, logged)

    @property
    def _mark(self) -> str:
        return f"wandb/{self.session.id}.json"

    @property
    def _logged(self) -> int:
        """The last step that this or an earlier process has logged; -1 before the first."""
        return int(self.run.read_json(self._mark, {}).get("step", -1))

    def _keep(self, last: int, logged: int) -> None:
        if last > logged:
            self.run.write_json(self._mark, {"step": last})

    def figures(self, found: Mapping[str, Any]) -> None:
        """What the stage amounts to, under dotted names."""
        self.session.summary.update(dict(found))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table that can be sorted, filtered and plotted there."""
        self.session.log({name: _wandb().Table(columns=list(columns), data=[list(row) for row in rows])})

    def page(self, name: str, html: str) -> None:
        """A piece of HTML."""
        self.session.log({name: _wandb().Html(html, inject=False)})

    def artifact(self, name: str, files: Mapping[str, str]) -> None:
        """Texts by file name, kept there under a name with versions."""
        kept = _wandb().Artifact(f"{_plain(self.run.path.name)}-{_plain(name)}", type="architectures")
        for file, text in files.items():
            with kept.new_file(file, mode="w") as stream:
                stream.write(text)
        self.session.log_artifact(kept)


@contextmanager
def tracker(mode: Mode, run: Run, stage: str, settings: Mapping[str, Any] | None = None) -> Iterator[Tracked | None]:
    """What to tell of a stage, or None when off; a missing key turns online into offline with a word.

    `stage` may have a name, such as `search/main`; the same one goes on with the same run there.
    """
    if mode == "off":
        yield None
        return
    wandb = _wandb()
    if mode == "online" and not _has_key():
        say("wandb: no API key found, logging offline; `wandb login` for the next time")
        mode = "offline"
    session = wandb.init(
        mode=mode,
        dir=str(run.path),
        project=PROJECT,
        group=run.path.name,
        job_type=stage.partition("/")[0],
        name=f"{run.path.name} {stage}",
        id=hashlib.sha256(f"{run.path} {stage}".encode()).hexdigest()[:16],
        resume="allow",
        config=dict(settings or {}),
        settings=wandb.Settings(console="off", save_code=False, disable_git=True, silent=True),
    )
    if mode in ("offline", "online"):
        kept = session.url if mode == "online" else f"kept in {run.path / 'wandb'}; `wandb sync --sync-all` sends it"
        say(f"wandb     {stage}: {kept}")
    code = 1
    try:
        yield Tracked(session, run)
        code = 0
    finally:
        session.finish(exit_code=code)


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise MissingDependencyError("run.wandb needs the package wandb: pip install 'attention-nas[wandb]'") from error
    return wandb


def _has_key() -> bool:
    """Whether W&B would find a key: in the environment or in the file where `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _plain(name: str) -> str:
    """A name as W&B takes it for artifacts."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:60]
