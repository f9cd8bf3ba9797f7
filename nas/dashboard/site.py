"""What the dashboard answers, without the network: an address in, a response or a stream out."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex

from nas.dashboard import overview
from nas.dashboard.folders import Folder, Folders, fingerprint
from nas.dashboard.making import Job, Want
from nas.dashboard.renderer import RenderError
from nas.dashboard.rested import Rested, Shelf
from nas.dashboard.status import Status, Watch

MOST_COMPARED = 6
MOST_LISTED = 500
MOST_KEPT = 16
"""Pages and payloads that are kept."""
LOOK_S = 0.5
"""Seconds in which journals are read on, all runs together, before the list is shown as far as it is known."""
PAGE_S = 30.0
"""How old a page may be: its script asks for what is new as soon as it runs."""
ADDRESS = re.compile(r"/run/(?P<keys>[0-9a-f]{12}(?:\+[0-9a-f]{12})*)(?P<rest>/[a-z/]*|)")
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: int
    kind: str
    body: bytes
    is_gzip: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: whoever listens is told whenever `version` is another one."""

    version: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Made:
    """A page or payload, the state of the folders that it shows, its number among those made, and why there is none."""

    version: str
    number: int
    body: bytes
    error: str = ""


@dataclass(slots=True)
class Site:
    """All runs below some folders; whatever takes long is made once for all who ask, with rests between."""

    folders: Folders
    render: Callable[[Job], bytes]
    _watches: dict[str, Watch] = field(default_factory=dict)
    _made: Shelf[tuple[Want, str], Made] = field(default_factory=lambda: Shelf(MOST_KEPT))
    _versions: Shelf[str, str] = field(default_factory=lambda: Shelf(MOST_LISTED))
    _statuses: Rested[tuple[Status, ...]] = field(init=False)
    _started: str = field(default_factory=lambda: token_hex(4))

    def __post_init__(self) -> None:
        self._statuses = Rested(lambda _: self._look())

    def answer(self, path: str, query: str) -> Response | Stream:
        """The answer to GET of an address below this site."""
        if path == "/":
            return _html(overview.index(*self._listed()))
        if path in ("/overview", "/overview/events"):
            return self._part(lambda: overview.overview(*self._listed()), path, query)
        return self._of_address(path, query)

    def _of_address(self, path: str, query: str) -> Response | Stream:
        found = ADDRESS.fullmatch(path)
        keys = found["keys"].split("+") if found else []
        runs = [run for run in map(self.folders.get, keys) if run is not None]
        if not found or len(runs) < len(keys):
            return _refused(
                404, "There is nothing here", "No run below the folders that this server shows has that address."
            )
        if len(set(keys)) < len(keys) or len(keys) > MOST_COMPARED:
            return _refused(400, "Too many", f"Up to {MOST_COMPARED} different runs can be compared, got {len(keys)}.")
        return self._of_runs(runs, found["rest"], path, query)

    def _of_runs(self, runs: Sequence[Folder], rest: str, path: str, query: str) -> Response | Stream:
        prefix = "/run/" + "+".join(run.key for run in runs)
        if rest == "":
            return Response(308, TEXT, b"", headers=(("Location", f"{prefix}/"),))
        if rest == "/":
            return self._page(runs, prefix)
        if rest == "/payload":
            made = self._entry("payload", runs, prefix).get()
            return _failed(made.error) if made.error else Response(200, JSON, made.body, is_gzip=True)
        if rest == "/events":
            return Stream(lambda: self._newest(runs, prefix))
        if rest in ("/activity", "/activity/events") and len(runs) == 1:
            return self._activity(runs[0], path, query)
        return _refused(404, "There is nothing here", "A run has the pages / and /activity.")

    def _page(self, runs: Sequence[Folder], prefix: str) -> Response:
        made = self._entry("page", runs, prefix).get()
        if made.error:
            return _refused(503, "This run cannot be shown", made.error)
        return Response(200, HTML, made.body, is_gzip=True)

    def _activity(self, run: Folder, path: str, query: str) -> Response | Stream:
        def status() -> Status:
            return next((one for one in self._statuses.get() if one.key == run.key), None) or Watch(run).look(
                time.monotonic() + LOOK_S
            )

        if "part" not in query and not path.endswith("/events"):
            return _html(overview.activity_page(status()))
        return self._part(lambda: overview.activity(status()), path, query)

    def _part(self, make: Callable[[], str], path: str, query: str) -> Response | Stream:
        """The part of a page that changes, or the stream that says when."""
        if path.endswith("/events"):
            return Stream(lambda: hashlib.sha256(make().encode()).hexdigest()[:16])
        return _html(make()) if "part" in query else Response(308, TEXT, b"", headers=(("Location", "/"),))

    def _listed(self) -> tuple[tuple[Status, ...], list[str]]:
        notes = ["Some folders hold too much to be looked through: give narrower ones."] if self.folders.is_cut else []
        runs = self._statuses.get()
        notes += [f"Only {MOST_LISTED} runs are listed: give narrower folders."] if len(runs) >= MOST_LISTED else []
        return runs, notes

    def _look(self) -> tuple[Status, ...]:
        runs = dict(list(self.folders.all().items())[:MOST_LISTED])
        self._watches = {key: self._watches.get(key) or Watch(run) for key, run in runs.items()}
        until = time.monotonic() + LOOK_S
        return tuple(watch.look(until) for watch in self._watches.values())

    def _entry(self, want: Want, runs: Sequence[Folder], prefix: str) -> Rested[Made]:
        folders = tuple(run.path for run in runs)

        def make(before: Made | None) -> Made:
            version = self._version(runs)
            if before is not None and before.version == version and not before.error:
                return before
            number = before.number + 1 if before is not None else 1
            try:
                return Made(version, number, self.render(Job(want, folders, prefix)))
            except RenderError as error:
                return Made(version, number, b"", str(error))

        least_s = {"page": PAGE_S, "payload": 1.0}[want]
        return self._made.get((want, prefix), lambda: Rested(make, least_s))

    def _newest(self, runs: Sequence[Folder], prefix: str) -> str:
        """Names the payload that asking now would bring: the one there is, or the next one.

        Payloads are counted, since the folders may change once more between an event and the payload that it causes.
        """
        entry = self._entry("payload", runs, prefix)
        if entry.value is None:
            return self._version(runs)
        is_next = entry.is_due and self._version(runs) != entry.value.version
        return f"{self._started}x{entry.value.number + is_next}"

    def _version(self, runs: Sequence[Folder]) -> str:
        return "".join(self._versions.get(run.key, partial(_watched, run.path)).get() for run in runs)


def _watched(folder: Path) -> Rested[str]:
    return Rested(lambda _: fingerprint(folder))


def _html(text: str) -> Response:
    return Response(200, HTML, text.encode(errors="replace"))


def _failed(reason: str) -> Response:
    return Response(503, TEXT, reason.encode(errors="replace"))


def _refused(status: int, title: str, text: str) -> Response:
    return Response(status, HTML, overview.refused(title, text).encode(errors="replace"))
